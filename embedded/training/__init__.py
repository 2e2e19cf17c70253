"""Scripts that train the embedded model: autoencoder, transformer, judge and the tables of the model card."""
