"""Writes the weights of the face networks from npm's ``@vladmandic/face-api``: renamed, scales folded in.

    npm pack @vladmandic/face-api@1.7.15
    PYTHONPATH=tests python tests/project/face_networks.py vladmandic-face-api-1.7.15.tgz

The package keeps a weight as ``stored * scale + min`` in eight bits. They stay as they are: what the recognition
network multiplies every channel by goes into the scale and the offset of its filter. Weights that the package keeps in
32 bits are stored in half precision.
"""

from __future__ import annotations

import json
import math
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from diversity_guidance.features.faces.weights import ASSETS
from torch import Tensor

MODELS = {
    "detector": "tiny_face_detector_model",
    "landmarks": "face_landmark_68_tiny_model",
    "recognition": "face_recognition_model",
}
"""Our names of the networks and the package's."""

STAGES = (
    *("conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2", "conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)
"""The recognition network's blocks in order."""


@dataclass(frozen=True)
class Entry:
    """A weight as the package keeps it: stored * scale + least; scale is None if it is kept in 32 bits."""

    stored: Tensor
    scale: float | None
    least: float

    @property
    def value(self) -> Tensor:
        """In float32."""
        return self.stored if self.scale is None else self.stored.float() * self.scale + self.least


def entries(package: Path, model: str) -> dict[str, Entry]:
    """The weights of a model by the package's names."""
    with tarfile.open(package) as archive:
        manifest, data = (
            archive.extractfile(f"package/model/{model}{end}").read() for end in ("-weights_manifest.json", ".bin")
        )
    found: dict[str, Entry] = {}
    start = 0
    for weight in (weight for group in json.loads(manifest) for weight in group["weights"]):
        packed = weight.get("quantization")
        kind = np.dtype(np.uint8 if packed else np.float32)
        count = math.prod(weight["shape"])
        numbers = np.frombuffer(data, kind, count, start).reshape(weight["shape"]).copy()
        start += count * kind.itemsize
        scale, least = (packed["scale"], packed["min"]) if packed else (None, 0.0)
        found[weight["name"]] = Entry(torch.from_numpy(numbers), scale, least)
    if start != len(data):
        raise ValueError(f"{model} holds {len(data)} bytes, and its manifest names {start}.")
    return found


def layer(
    weight: Entry, bias: Tensor | None = None, gain: Tensor | None = None, depthwise: bool = False
) -> dict[str, Tensor]:
    """A convolution of the package (height, width, in, out) as ours (out, in, height, width)."""
    stored = weight.stored if weight.stored.ndim == 4 else weight.stored[None, None]
    stored = stored.permute(2, 3, 0, 1) if depthwise else stored.permute(3, 2, 0, 1)
    filters = len(stored)
    gain = torch.ones(filters) if gain is None else gain
    made = {"bias": torch.zeros(filters) if bias is None else bias}
    if weight.scale is None:
        return {**made, "weight": (stored * gain.view(-1, 1, 1, 1)).half().contiguous()}
    return {**made, "weight": stored.contiguous(), "scale": gain * weight.scale, "offset": gain * weight.least}


def separable(found: dict[str, Entry], name: str) -> dict[str, dict[str, Tensor]]:
    """A filter of each channel and a mixing of channels."""
    return {
        "depthwise": layer(found[f"{name}/depthwise_filter"], depthwise=True),
        "pointwise": layer(found[f"{name}/pointwise_filter"], found[f"{name}/bias"].value),
    }


def scaled(found: dict[str, Entry], name: str) -> dict[str, Tensor]:
    """A convolution and the scaling after it."""
    gain = found[f"{name}/scale/weights"].value
    bias = found[f"{name}/conv/bias"].value * gain + found[f"{name}/scale/biases"].value
    return layer(found[f"{name}/conv/filters"], bias, gain)


def detector(found: dict[str, Entry]) -> dict[str, dict[str, Tensor]]:
    """Its layers."""
    made = {
        "stem": layer(found["conv0/filters"], found["conv0/bias"].value),
        "head": layer(found["conv8/filters"], found["conv8/bias"].value),
    }
    for number in range(5):
        made |= {f"blocks.{number}.{part}": each for part, each in separable(found, f"conv{number + 1}").items()}
    return made


def landmarks(found: dict[str, Entry]) -> dict[str, dict[str, Tensor]]:
    """Its layers."""
    made = {"head": layer(found["fc/weights"], found["fc/bias"].value)}
    for block in range(3):
        for place in range(3):
            name = f"dense{block}/conv{place}"
            if f"{name}/filters" in found:
                made["stem"] = layer(found[f"{name}/filters"], found[f"{name}/bias"].value)
            else:
                parts = separable(found, name)
                made |= {f"blocks.{block}.{place}.{part}": each for part, each in parts.items()}
    return made


def recognition(found: dict[str, Entry]) -> dict[str, dict[str, Tensor]]:
    """Its layers."""
    made = {"stem": scaled(found, "conv32_down"), "head": layer(found["fc"])}
    for number, stage in enumerate(STAGES):
        made |= {f"blocks.{number}.{place}": scaled(found, f"{stage}/conv{place + 1}") for place in (0, 1)}
    return made


if __name__ == "__main__":
    package = Path(sys.argv[1])
    for ours, theirs in MODELS.items():
        made = globals()[ours](entries(package, theirs))
        flat = {f"{name}.{part}": each for name, parts in made.items() for part, each in parts.items()}
        safetensors.torch.save_file(flat, ASSETS / f"{ours}.safetensors")
