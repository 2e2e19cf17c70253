"""Feature Guidance: steering by the means of the network's own activations (arXiv 2410.11646)."""
