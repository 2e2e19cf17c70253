"""The classifier behind the judge: what a 64 x 64 picture shows, in four answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

from .assets_path import asset
from .reals import Label

HEADS = ("concept", "gender", "skin", "vendor")
WIDTHS = (24, 48, 96, 128)


class JudgeNetwork(nn.Module):
    """Four strided convolutions, averaged over the picture, and one linear head for each answer."""

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.classes = {head: tuple(classes[head]) for head in HEADS}
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({head: nn.Linear(WIDTHS[-1], len(self.classes[head])) for head in HEADS})

    @classmethod
    def of(cls, labels: Sequence[Label]) -> JudgeNetwork:
        """An untrained network for the answers that the labels give."""
        return cls({head: sorted({getattr(label, head) for label in labels}) for head in HEADS})

    @classmethod
    def load(cls, path: Path | None = None) -> JudgeNetwork:
        """The network stored in a safetensors file (default: the embedded one), in float32."""
        with safe_open(path or asset("judge.safetensors"), framework="pt") as file:
            network = cls(json.loads(file.metadata()["classes"]))
            network.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()})  # noqa: SIM118
        return network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) of each head for images (B, 3, 64, 64) in 0..1."""
        features = self.trunk(images * 2 - 1).mean((2, 3))
        return {head: layer(features) for head, layer in self.heads.items()}

    def targets(self, labels: Sequence[Label]) -> dict[str, list[int]]:
        """The right class numbers of each head."""
        numbers = {head: {name: index for index, name in enumerate(names)} for head, names in self.classes.items()}
        return {head: [numbers[head][getattr(label, head)] for label in labels] for head in HEADS}
