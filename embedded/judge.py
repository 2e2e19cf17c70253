"""The judge: what a generated image shows, whether it is faithful to the prompt, and how near it is to a real image.

A classifier trained on the real images gives mode and fidelity, the pixel distance to the nearest of them the quality.
Both are needed: a blurred image keeps its mode, and a sharp one may show something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .judge_network import HEADS, JudgeNetwork
from .reals import TILE, Label, Mode, RealImages


@dataclass(frozen=True)
class Verdict:
    """The judgement of one image.

    Attributes:
        concept: the likeliest concept.
        mode: the likeliest of the modes that the prompt leaves open.
        faithful: whether the likeliest concept, gender, skin tone and vendor all occur among real images of the prompt.
        nearest: index of the nearest real image of the prompt.
        rmse: root mean square pixel difference to it, pixels in 0..1.
        nearest_overall: index of the nearest of all real images.
        nearest_mode: the mode of `nearest`, known without the classifier.
        sharpness: mean difference of neighbouring pixels, relative to that of `nearest`.
    """

    concept: str
    mode: Mode
    faithful: bool
    nearest: int
    rmse: float
    nearest_overall: int
    nearest_mode: Mode
    sharpness: float


@dataclass(frozen=True)
class Coverage:
    """Summary of the verdicts on one prompt's images.

    Attributes:
        known: number of modes that the prompt leaves open.
        reached: number of these modes that faithful images show.
        reached_well: number that faithful images within the quality limit show.
        reached_nearest: as `reached_well`, with modes and fidelity by the nearest real image instead of the classifier.
        fidelity: share of faithful images.
        fidelity_nearest: share of images whose nearest of all real images belongs to the prompt.
        rmse: mean distance to the nearest real image of the prompt.
        within_limit: share of images within the quality limit.
        sharpness: mean sharpness.
    """

    known: int
    reached: int
    reached_well: int
    reached_nearest: int
    fidelity: float
    fidelity_nearest: float
    rmse: float
    within_limit: float
    sharpness: float


class Judge:
    """The classifier and the real images."""

    def __init__(self, network: JudgeNetwork, reals: RealImages) -> None:
        self.network = network
        self.reals = reals

    @classmethod
    def load(cls) -> Judge:
        """The judge that is part of the package."""
        return cls(JudgeNetwork.load(), RealImages.load())

    @torch.no_grad()
    def judge(self, images: Tensor, prompt: str) -> list[Verdict]:
        """A verdict on each image (B, 3, 64, 64) in 0..1 generated for the prompt.

        Raises:
            ValueError: the images have another size, or no real image matches the prompt.
        """
        if images.ndim != 4 or images.shape[1:] != (3, TILE, TILE):
            raise ValueError(f"The judge reads images of 3 x {TILE} x {TILE}, not {tuple(images.shape)}: resize them.")
        matching = self.reals.matching(prompt)
        labels = [self.reals.labels[index] for index in matching.tolist()]
        logits = self.network(images)
        concepts = [self.network.classes["concept"][number] for number in logits["concept"].argmax(1).tolist()]
        modes = self._likeliest_modes(logits, labels)
        faithful = self._faithful(logits, labels)
        squared = self._squared_errors(images)
        overall = squared.argmin(1).tolist()
        nearest = matching[squared[:, matching].argmin(1)]
        real = self.reals.images(nearest)
        rmse = (images - real).square().mean((1, 2, 3)).sqrt()
        sharpness = _edges(images) / _edges(real)
        return [
            Verdict(
                concept=concepts[row],
                mode=modes[row],
                faithful=faithful[row],
                nearest=int(nearest[row]),
                rmse=float(rmse[row]),
                nearest_overall=overall[row],
                nearest_mode=self.reals.labels[int(nearest[row])].mode,
                sharpness=float(sharpness[row]),
            )
            for row in range(len(images))
        ]

    @torch.no_grad()
    def faithful(self, images: Tensor, prompt: str) -> list[bool]:
        """Whether each image (B, 3, 64, 64) shows what the prompt says; `judge` without the distances.

        Raises:
            ValueError: no real image matches the prompt.
        """
        labels = [self.reals.labels[index] for index in self.reals.matching(prompt).tolist()]
        return self._faithful(self.network(images), labels)

    def coverage(self, verdicts: Sequence[Verdict], prompt: str) -> Coverage:
        """The modes of the prompt that judged images reach, and the images' quality.

        Raises:
            ValueError: there are no verdicts.
        """
        if not verdicts:
            raise ValueError("Coverage needs at least one judged image.")
        matching = set(self.reals.matching(prompt).tolist())
        near = [verdict.rmse <= self.reals.quality_limit for verdict in verdicts]
        belongs = [verdict.nearest_overall in matching for verdict in verdicts]
        good = [verdict for verdict, close in zip(verdicts, near, strict=True) if close]
        return Coverage(
            known=len(self.reals.modes(prompt)),
            reached=len({verdict.mode for verdict in verdicts if verdict.faithful}),
            reached_well=len({verdict.mode for verdict in good if verdict.faithful}),
            reached_nearest=len({verdict.nearest_mode for verdict in good if verdict.nearest_overall in matching}),
            fidelity=sum(verdict.faithful for verdict in verdicts) / len(verdicts),
            fidelity_nearest=sum(belongs) / len(verdicts),
            rmse=sum(verdict.rmse for verdict in verdicts) / len(verdicts),
            within_limit=sum(near) / len(verdicts),
            sharpness=sum(verdict.sharpness for verdict in verdicts) / len(verdicts),
        )

    def _likeliest_modes(self, logits: dict[str, Tensor], labels: Sequence[Label]) -> list[Mode]:
        """The most probable mode of each image, among those of the labels."""
        modes = sorted({label.mode for label in labels})
        chance = torch.zeros(len(logits["concept"]), len(modes))
        for head in Mode._fields:
            names = self.network.classes[head]
            chance += logits[head].log_softmax(1)[:, [names.index(getattr(mode, head)) for mode in modes]]
        return [modes[number] for number in chance.argmax(1).tolist()]

    def _faithful(self, logits: dict[str, Tensor], labels: Sequence[Label]) -> list[bool]:
        """Whether the likeliest class of every head occurs among the labels."""
        faithful = torch.ones(len(logits["concept"]), dtype=torch.bool)
        for head in HEADS:
            names = self.network.classes[head]
            allowed = torch.tensor([names.index(name) for name in {getattr(label, head) for label in labels}])
            faithful &= torch.isin(logits[head].argmax(1), allowed)
        return faithful.tolist()

    def _squared_errors(self, images: Tensor, chunk: int = 512) -> Tensor:
        """Mean squared pixel difference of every image to every real image, (B, N), computed in chunks."""
        flat = images.flatten(1)
        parts = []
        for start in range(0, len(self.reals.pixels), chunk):
            real = self.reals.images(torch.arange(start, min(start + chunk, len(self.reals.pixels)))).flatten(1)
            squared = flat.square().sum(1, keepdim=True) - 2 * flat @ real.T + real.square().sum(1)
            parts.append(squared.clamp(min=0) / flat.shape[1])
        return torch.cat(parts, dim=1)


def _edges(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, (B,)."""
    return images.diff(dim=2).abs().mean((1, 2, 3)) + images.diff(dim=3).abs().mean((1, 2, 3))
