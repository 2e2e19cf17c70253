"""The sidebar panel Memory: what its routes answer."""
