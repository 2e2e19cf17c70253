"""What an image shows, by a network that comes with the package."""
