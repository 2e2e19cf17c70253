"""What the Diversity Report node needs."""
