"""Feature-guided score diffusion (arXiv 2410.11646), trained as in the paper on scikit-learn's digits."""
