"""The Image Retrieval Score of models with known modes."""
