"""Property tests of the metrics are not timed and always draw the same examples."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("metrics", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("metrics")
