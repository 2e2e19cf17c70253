"""Ablations and cost of Vendi Guidance."""
