"""Feature Guidance on the embedded model."""
