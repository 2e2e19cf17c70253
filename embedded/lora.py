"""LoRAs (arXiv 2106.09685) of the embedded transformer, in the file format that ComfyUI reads.

Needs only torch and safetensors, so that the ComfyUI nodes can use it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

TURBO_LORA = "turbo_lora.safetensors"
PREFIX = "diffusion_model."
BASE = "base_sha256"
"""Metadata key: SHA-256 of the file of base weights."""


@dataclass(frozen=True)
class Lora:
    """Differences of linear layers, each up @ down * alpha / rank.

    Attributes:
        tensors: `<PREFIX><layer>.lora_up.weight` (out, rank), `.lora_down.weight` (rank, in) and `.alpha`.
        base: SHA-256 of the file of base weights.
    """

    tensors: Mapping[str, Tensor]
    base: str

    @classmethod
    def load(cls, path: Path, base: Path) -> Lora:
        """Load a LoRA for the base weights in a file.

        Raises:
            ValueError: the LoRA is for other weights.
        """
        with safe_open(path, framework="pt") as file:
            made_for = (file.metadata() or {}).get(BASE, "")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        if made_for != digest_of(base):
            raise ValueError(
                f"{path.name} was distilled from other weights than {base.name}: take both from the same release."
            )
        return cls(tensors, made_for)

    def merged(self, weights: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
        """Base weights with native keys plus the differences.

        Raises:
            ValueError: the base has no layer of a difference's name and shape.
        """
        result = dict(weights)
        for key, up in self.tensors.items():
            if not key.endswith(".lora_up.weight"):
                continue
            stem = key.removesuffix(".lora_up.weight")
            name = f"{stem.removeprefix(PREFIX)}.weight"
            down, alpha = self.tensors[f"{stem}.lora_down.weight"].float(), float(self.tensors[f"{stem}.alpha"])
            difference = up.float() @ down * (strength * alpha / len(down))
            if name not in weights or weights[name].shape != difference.shape:
                raise ValueError(f"The LoRA changes {name}, which these weights do not have in its shape.")
            result[name] = weights[name] + difference.to(weights[name])
        return result


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
