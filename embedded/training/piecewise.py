"""Piecewise rectified flow (PeRFlow, arXiv 2405.07510) of the embedded model under classifier-free guidance.

The noise levels are cut where the four-step schedule cuts them. In each segment the student learns the straight line
from where a sample enters to where the guided teacher's path leaves: one step a segment suffices, more do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..schedule import shifted
from ..text import TextEncoder

SEGMENTS = 4
AT_START, AT_MIDDLE = 0.4, 0.25
"""Shares of the training points where a four-step schedule evaluates, and where only an eight-step one does."""
OWN_SHARE = 0.5

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Velocity (B, C, H, W) for latents (B, C, H, W), noise levels (B,) and tokens (B, 8)."""


@dataclass(frozen=True)
class Segments:
    """Pieces of paths.

    Attributes:
        enter, leave: model-space latents (N, C, H, W) at the start and the end of the segment.
        index: number of the segment, int64 (N,); 0 begins at pure noise.
        tokens: of the prompts, int64 (N, 8).
    """

    enter: Tensor
    leave: Tensor
    index: Tensor
    tokens: Tensor

    def take(self, rows: Tensor) -> Segments:
        """The pieces with these numbers, int64 (n,)."""
        return Segments(self.enter[rows], self.leave[rows], self.index[rows], self.tokens[rows])

    def concat(self, newer: Segments, kept: int) -> Segments:
        """These and newer ones; of all, the newest `kept`."""
        pairs = zip(vars(self).values(), vars(newer).values(), strict=True)
        return Segments(*(torch.cat(pair)[-kept:] for pair in pairs))


class GuidedTeacher:
    """The base model under classifier-free guidance of one scale a segment."""

    def __init__(self, network: nn.Module, text: TextEncoder, scales: Sequence[float], sub_steps: int) -> None:
        self._network, self._text, self._scales, self._sub_steps = network, text, torch.tensor(scales), sub_steps
        self._empty = text.encode([""])

    def velocity(self, x: Tensor, sigma: Tensor, tokens: Tensor, scale: Tensor) -> Tensor:
        """Velocity guided at scales (B,); of an empty prompt the unconditional one, whatever the scale."""
        context, pooled = self._text(tokens)
        empty_context, empty_pooled = self._empty
        both = self._network(
            torch.cat([x, x]),
            torch.cat([context, empty_context.expand_as(context)]),
            torch.cat([pooled, empty_pooled.expand_as(pooled)]),
            1000 * torch.cat([sigma, sigma]),
            return_dict=False,
        )[0]
        conditional, unconditional = both.chunk(2)
        return unconditional + _column(scale) * (conditional - unconditional)

    @torch.no_grad()
    def follow(self, enter: Tensor, index: Tensor, tokens: Tensor) -> Segments:
        """Euler steps, equal in time, from the start of segments (B,) to their end."""
        x, sigma = enter, level(index, 0.0)
        for step in range(self._sub_steps):
            next_sigma = level(index, (step + 1) / self._sub_steps)
            x = x + _column(next_sigma - sigma) * self.velocity(x, sigma, tokens, self._scales[index])
            sigma = next_sigma
        return Segments(enter, x, index, tokens)


def level(index: Tensor, share: float | Tensor) -> Tensor:
    """Noise level after a share of the time of segments (B,)."""
    return torch.as_tensor(shifted(1 - (index + share) / SEGMENTS))


@torch.no_grad()
def whole_paths(
    teacher: GuidedTeacher, student: Velocity, noise: Tensor, tokens: Tensor, generator: torch.Generator
) -> list[Segments]:
    """Every segment of paths that begin as noise; after each, `OWN_SHARE` go on where the student's step arrives.

    A student that only sees the teacher's path never learns to come back from its own errors.
    """
    x, found = noise, []
    for number in range(SEGMENTS):
        index = torch.full((len(x),), number)
        found.append(teacher.follow(x, index, tokens))
        start, end = level(index, 0.0), level(index, 1.0)
        own = x + _column(end - start) * student(x, start, tokens)
        x = torch.where(_column(torch.rand(len(x), generator=generator)) < OWN_SHARE, own, found[-1].leave)
    return found


def noisy_segments(
    teacher: GuidedTeacher, latents: Tensor, noise: Tensor, tokens: Tensor, generator: torch.Generator
) -> Segments:
    """One random segment each that begins at a noised real latent, as image to image does."""
    index = torch.randint(SEGMENTS, (len(latents),), generator=generator)
    return teacher.follow(torch.lerp(latents, noise, _column(level(index, 0.0))), index, tokens)


def straightness_loss(student: Velocity, segments: Segments, generator: torch.Generator) -> Tensor:
    """Mean squared velocity error at a random point of each segment's straight line.

    A segment counts in proportion to its length, as far as an error of its velocity carries a sample.
    """
    count = len(segments.index)
    kind, share = torch.rand(2, count, generator=generator)
    share = torch.where(kind < AT_START, 0.0, torch.where(kind < AT_START + AT_MIDDLE, 0.5, share))
    start, end, sigma = (level(segments.index, part) for part in (0.0, 1.0, share))
    x = torch.lerp(segments.enter, segments.leave, _column((sigma - start) / (end - start)))
    target = (segments.leave - segments.enter) / _column(end - start)
    errors = (student(x, sigma, segments.tokens) - target).square().mean((1, 2, 3))
    return (SEGMENTS * (start - end) * errors).mean()


def _column(values: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
