"""Benchmarks: what the command line measures and the documentation quotes."""
