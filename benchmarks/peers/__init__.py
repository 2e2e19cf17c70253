"""Other methods for diversity, from their equations."""
