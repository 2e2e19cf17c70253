"""The mathematics: pure functions on tensors, without state, files or host."""
