"""Random generators by seed and name."""

from __future__ import annotations

import hashlib

import torch


def seeded_generator(seed: int, stream: str) -> torch.Generator:
    """A CPU generator that depends on the seed and the stream's name alone, never on the global random state."""
    digest = hashlib.sha256(f"{seed}:{stream}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
