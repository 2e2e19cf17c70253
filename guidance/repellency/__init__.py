"""Sparse Repellency: shields around images of the batch, the Memory Bank and the Protected Index (arXiv 2410.06025)."""
