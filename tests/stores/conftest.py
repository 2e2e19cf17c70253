"""Small latents and banks for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from hypothesis import settings
from support.random_latents import random_latents

# Property tests are not timed and always draw the same examples.
settings.register_profile("stores", deadline=None, derandomize=True, database=None)
settings.load_profile("stores")


@pytest.fixture
def latents() -> Callable[..., torch.Tensor]:
    return random_latents


@pytest.fixture
def bank(tmp_path: Path) -> MemoryBank:
    return MemoryBank(tmp_path, "portraits")
