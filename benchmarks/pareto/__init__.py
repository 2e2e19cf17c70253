"""Diversity against fidelity and cost: our methods and what people use instead, on both embedded models."""
