"""Feature centroids: means of a network's activations over a set of images."""
