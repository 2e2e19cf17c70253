"""``diversity-guidance bank``: Memory Banks on the command line."""
