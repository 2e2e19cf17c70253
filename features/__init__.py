"""Pictures or latents to feature vectors."""
