"""Faces in images, and how alike two of them are: three small networks that come with the package."""
