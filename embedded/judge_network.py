"""The judge's classifier: concept, gender, skin tone and vendor of a 64 x 64 image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

from .assets_path import asset

HEADS = ("concept", "gender", "skin", "vendor")
WIDTHS = (24, 48, 96, 128)


class JudgeNetwork(nn.Module):
    """Four strided convolutions, a mean over the image, and a linear head per answer."""

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.classes = {head: tuple(classes[head]) for head in HEADS}
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({head: nn.Linear(WIDTHS[-1], len(self.classes[head])) for head in HEADS})

    @classmethod
    def load(cls, path: Path | None = None) -> JudgeNetwork:
        """Load a safetensors file (default: the embedded one) in float32."""
        with safe_open(path or asset("judge.safetensors"), framework="pt") as file:
            network = cls(json.loads(file.metadata()["classes"]))
            network.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()})  # noqa: SIM118
        return network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) of each head for images (B, 3, 64, 64) in 0..1."""
        features = self.trunk(images * 2 - 1).mean((2, 3))
        return {head: layer(features) for head, layer in self.heads.items()}
