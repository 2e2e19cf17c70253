"""The embedded tiny model and a pipeline that runs it without ComfyUI."""
