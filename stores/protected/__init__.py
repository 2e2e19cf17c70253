"""The Protected Index: millions of images that must not be generated again, searched exactly."""
