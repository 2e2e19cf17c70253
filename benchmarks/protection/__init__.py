"""The embedded model's own training images, protected."""
