"""Vendi Guidance: more diverse than the Memory Bank, within the range of an Exemplar Set (arXiv 2406.04551)."""
