"""Feature-guided score diffusion (arXiv 2410.11646) as the paper trains it, small: scikit-learn's digits."""
