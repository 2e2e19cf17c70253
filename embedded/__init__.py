"""The embedded model: a tiny text-to-image model, and a sampling loop that runs it without ComfyUI."""
