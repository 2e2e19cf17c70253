"""What the Image Retrieval Score tells of a model with known modes."""
