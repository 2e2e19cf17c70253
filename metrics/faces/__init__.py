"""Which images show the same face: an optional part of the report, which says it and rejects nothing."""
