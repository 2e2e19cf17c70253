"""Values that do not fit, through a socket that fits everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def latent(**changes: Any) -> dict[str, Any]:
    """A LATENT with something changed."""
    return {"samples": torch.ones(2, 16, 8, 8), **changes}


MISFITS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "true": lambda: True,
    "minus one": lambda: -1,
    "2^200": lambda: 2**200,
    "half": lambda: 0.5,
    "NaN": lambda: math.nan,
    "infinity": lambda: math.inf,
    "empty text": lambda: "",
    "text": lambda: "text",
    "long text": lambda: "a/" * 5000,
    "half a character": lambda: "\ud800",
    "direction mark": lambda: "evil\u202egnp",
    "path": lambda: "../../outside",
    "bytes": lambda: b"bytes",
    "list": lambda: [1, "a", None],
    "empty list": list,
    "dictionary": lambda: {"a": 1},
    "object": object,
    "class": lambda: torch.nn.Linear,
    "scalar tensor": lambda: torch.tensor(1.0),
    "empty tensor": lambda: torch.zeros(0, 64, 64, 3),
    "flat tensor": lambda: torch.ones(3, 64),
    "whole numbers": lambda: torch.ones(2, 64, 64, 3, dtype=torch.int64),
    "NaN image": lambda: torch.full((2, 64, 64, 3), math.nan),
    "two channels": lambda: torch.ones(2, 64, 64, 2),
    "one pixel": lambda: torch.ones(1, 1, 1, 3),
    "LATENT of nothing": dict,
    "LATENT of None": lambda: latent(samples=None),
    "LATENT of a list": lambda: latent(samples=[[1.0]]),
    "LATENT without images": lambda: latent(samples=torch.ones(0, 16, 8, 8)),
    "LATENT of a vector": lambda: latent(samples=torch.ones(16)),
    "LATENT of sound": lambda: latent(samples=torch.ones(2, 8, 64)),
    "LATENT of NaN": lambda: latent(samples=torch.full((2, 16, 8, 8), math.nan)),
    "LATENT of whole numbers": lambda: latent(samples=torch.ones(2, 16, 8, 8, dtype=torch.int32)),
    "LATENT of three channels": lambda: latent(samples=torch.ones(2, 3, 8, 8)),
    "LATENT with a text for a mask": lambda: latent(noise_mask="mask"),
    "LATENT with texts for places": lambda: latent(batch_index=["a", "b"]),
    "conditioning of texts": lambda: [["a", {}]],
    "conditioning without facts": lambda: [[torch.ones(1, 3, 8)]],
}


class Everywhere(str):
    """A type that is unlike none: what packs write whose sockets fit everywhere."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return False


class TestAnything:
    """One of the values above."""

    CATEGORY = "tests"
    FUNCTION = "make"
    RETURN_TYPES = (Everywhere("*"),)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"kind": (list(MISFITS),)}}

    def make(self, kind: str) -> tuple[Any]:
        return (MISFITS[kind](),)
