"""The Diversity Report as a library: numbers, tables, plots."""
