"""How often the report errs when it says that images show the same face."""
