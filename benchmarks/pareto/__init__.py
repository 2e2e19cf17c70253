"""Diversity against fidelity and cost: our methods and others, on both embedded models."""
