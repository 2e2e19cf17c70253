"""Building Protected Indexes from images or latents, on one machine or on many."""
