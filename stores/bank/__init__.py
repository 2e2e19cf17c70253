"""The Memory Bank: images of the past, on disk, safe against kills and concurrent writers."""
