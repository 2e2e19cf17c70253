"""Exact search among millions of references."""
