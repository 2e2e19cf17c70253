"""What the training scripts share: a schedule over a time budget, averaged weights, files replaced atomically."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


class Budget:
    """A training time in minutes; progress goes from 0 to 1 however fast the machine is."""

    def __init__(self, minutes: float, spent_seconds: float = 0.0) -> None:
        if not minutes > 0:
            raise ValueError(f"The training time must be above 0 minutes, not {minutes}.")
        self.seconds = 60.0 * minutes
        self._start = time.monotonic() - spent_seconds

    @property
    def spent(self) -> float:
        """Seconds of training so far, those before a resumption included."""
        return time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, at most 1."""
        return min(self.spent / self.seconds, 1.0)


def cosine_rate(progress: float, peak: float, warm_up: float = 0.02, floor: float = 0.02) -> float:
    """Learning rate at a progress in 0..1: a linear warm-up to `peak`, then half a cosine down to `floor * peak`."""
    if progress < warm_up:
        return peak * progress / warm_up
    angle = math.pi * (progress - warm_up) / (1 - warm_up)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(angle)))


class WeightAverage:
    """Exponential moving average of parameters, which samples better than the last ones."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self._steps = 0
        self.values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present parameters; the first steps count more, so that the start is forgotten."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"values": self.values, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`."""
        self._steps = state["steps"]
        for value, stored in zip(self.values, state["values"], strict=True):
            value.copy_(stored)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the averages and the present parameters; calling it again undoes it."""
        for value, parameter in zip(self.values, self._parameters, strict=True):
            kept = parameter.clone()
            parameter.copy_(value)
            value.copy_(kept)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the old one or the new one, never half of one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as float16 safetensors, atomically."""
    partial = path.with_suffix(".partial")
    save_file({key: value.half().contiguous() for key, value in state.items()}, partial, metadata)
    partial.replace(path)
