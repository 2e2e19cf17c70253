"""What outlives a run: Memory Bank, Exemplar Set, Protected Index."""
