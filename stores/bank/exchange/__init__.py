"""A Memory Bank as one file, to be copied, kept or given to others."""
