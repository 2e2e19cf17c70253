"""The Protected Index against Faiss."""
