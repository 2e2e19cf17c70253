"""What an image shows: by a network that comes with the package, or by one of transformers in a folder."""
