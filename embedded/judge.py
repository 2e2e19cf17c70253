"""What a generated picture shows, whether that is what the prompt said, and how near it is to a real one.

Modes and fidelity are told by a classifier trained on the real pictures, quality by the pixel distance to the nearest
of them: neither alone is enough, a blurred picture keeps its mode and a sharp one may be of something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .judge_network import HEADS, JudgeNetwork
from .reals import (
    TILE,
    Label,
    Mode,
    RealPictures,
)


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one picture.

    Attributes:
        concept: the likeliest concept.
        mode: the likeliest of the modes that the prompt leaves open.
        faithful: whether the likeliest concept, gender, skin tone and vendor are all ones that real pictures of the
            prompt have.
        nearest: index of the nearest real picture of the prompt.
        rmse: root mean square pixel difference to it, pixels in 0..1.
        nearest_overall: index of the nearest of all real pictures.
        nearest_mode: the mode of `nearest`, a judgement without the classifier.
        sharpness: mean pixel difference of neighbours relative to that of `nearest`; 1 is as sharp as the real picture.
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
    """Summary of the verdicts on one prompt's pictures.

    Attributes:
        known: number of modes that the prompt leaves open.
        reached: how many of them faithful pictures show.
        reached_well: how many faithful pictures within the quality limit show.
        reached_nearest: as `reached_well`, but modes and fidelity told by the nearest real picture instead.
        fidelity: share of faithful pictures.
        fidelity_nearest: share of pictures whose nearest real picture of all belongs to the prompt.
        rmse: mean distance to the nearest real picture of the prompt.
        within_limit: share of pictures within the quality limit.
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
    """The classifier and the real pictures."""

    def __init__(self, network: JudgeNetwork, reals: RealPictures) -> None:
        self.network = network
        self.reals = reals

    @classmethod
    def load(cls) -> Judge:
        """The judge that is part of the package."""
        return cls(JudgeNetwork.load(), RealPictures.load())

    @torch.no_grad()
    def judge(self, images: Tensor, prompt: str) -> list[Verdict]:
        """One verdict for each of the images (B, 3, 64, 64) in 0..1 that were made for the prompt.

        Raises:
            ValueError: the images have another size, or no real picture matches the prompt.
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
        """Whether each of the images (B, 3, 64, 64) shows what the prompt says; `judge` without the distances.

        Raises:
            ValueError: no real picture matches the prompt.
        """
        labels = [self.reals.labels[index] for index in self.reals.matching(prompt).tolist()]
        return self._faithful(self.network(images), labels)

    def coverage(self, verdicts: Sequence[Verdict], prompt: str) -> Coverage:
        """Which of the prompt's known modes the judged pictures reach, and how good they are.

        Raises:
            ValueError: there is no verdict.
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
        """Of the modes that occur among the labels, the one with the largest product of chances for each picture."""
        modes = sorted({label.mode for label in labels})
        chance = torch.zeros(len(logits["concept"]), len(modes))
        for head in Mode._fields:
            names = self.network.classes[head]
            chance += logits[head].log_softmax(1)[:, [names.index(getattr(mode, head)) for mode in modes]]
        return [modes[number] for number in chance.argmax(1).tolist()]

    def _faithful(self, logits: dict[str, Tensor], labels: Sequence[Label]) -> list[bool]:
        """Whether the likeliest answer of every head is one that the labels give."""
        faithful = torch.ones(len(logits["concept"]), dtype=torch.bool)
        for head in HEADS:
            names = self.network.classes[head]
            allowed = torch.tensor([names.index(name) for name in {getattr(label, head) for label in labels}])
            faithful &= torch.isin(logits[head].argmax(1), allowed)
        return faithful.tolist()

    def _squared_errors(self, images: Tensor, chunk: int = 512) -> Tensor:
        """Mean squared pixel difference of every image to every real picture, (B, N), in parts for memory."""
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
