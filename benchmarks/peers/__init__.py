"""What others do for diversity, from their equations."""
