"""Property tests of the kernels are not timed and always draw the same examples."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("kernels", deadline=None, derandomize=True, database=None)
settings.load_profile("kernels")
