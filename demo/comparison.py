"""The same prompt and seeds drawn twice: as the model draws them, then with Sparse Repellency and a growing bank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..embedded.pipeline import LATENT_FORMAT, EmbeddedModel
from ..guidance.base import Guidance
from ..guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ..guidance.trace import Trace
from ..stores.bank.bank import MemoryBank

SEED_STRIDE = 1000
"""Seeds of a series' batches are this far apart, so that neighbouring series share none."""


@dataclass(frozen=True)
class Request:
    """What is to be drawn.

    Attributes:
        prompt: words that the embedded model knows.
        count: pictures a batch.
        batches: drawn one after the other.
        seed: of the first batch.
        steps: evaluations of the model.
        cfg: scale of classifier-free guidance.
    """

    prompt: str
    count: int = 8
    batches: int = 3
    seed: int = 1
    steps: int = 24
    cfg: float = 5.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.batches < 1:
            raise ValueError("Ask for at least one picture and one batch.")

    def seeds(self) -> list[int]:
        """The seed of every batch."""
        return [self.seed + SEED_STRIDE * batch for batch in range(self.batches)]


@dataclass
class Series:
    """Everything that was drawn one way.

    Attributes:
        pictures: one tensor (count, 3, H, W) in 0..1 a batch.
        latents: raw VAE latents of each batch.
        traces: what the guidance did in each batch; empty for the unguided series.
        names: identity under which each picture of a batch was remembered; empty for the unguided series.
    """

    pictures: list[Tensor] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    names: list[Sequence[str]] = field(default_factory=list)

    def all_pictures(self) -> Tensor:
        """Every picture, in the order of drawing."""
        return torch.cat(self.pictures)

    def all_latents(self) -> Tensor:
        """Every picture's latents, in the order of drawing."""
        return torch.cat(self.latents)


Tick = Callable[[int, int], None]
"""Told (steps done, steps in all) of a series."""


def draw_unguided(model: EmbeddedModel, request: Request, tick: Tick | None = None) -> Series:
    """Draw every batch as the model draws it."""
    series = Series()
    for batch in range(request.batches):
        _draw(model, request, batch, None, series, tick)
    return series


def draw_guided(
    model: EmbeddedModel,
    request: Request,
    settings: RepellencySettings,
    bank: MemoryBank,
    tick: Tick | None = None,
) -> Series:
    """Draw every batch away from itself and from what the bank remembers, then remember it."""
    series = Series()
    for batch, seed in enumerate(request.seeds()):
        guidance = SparseRepellency(settings, [bank.snapshot()])
        latents = _draw(model, request, batch, guidance, series, tick)
        remembered = bank.append(latents, latent_format=LATENT_FORMAT, prompts=request.prompt, seeds=seed)
        series.traces.append(guidance.trace)
        series.names.append(remembered.ids)
    return series


def _draw(
    model: EmbeddedModel, request: Request, batch: int, guidance: Guidance | None, series: Series, tick: Tick | None
) -> Tensor:
    def progress(done: int, steps: int) -> None:
        if tick is not None:
            tick(batch * steps + done, request.batches * steps)

    latents = model.sample(
        [request.prompt] * request.count,
        request.seeds()[batch],
        steps=request.steps,
        cfg=request.cfg,
        guidance=guidance,
        progress=progress,
    )
    series.latents.append(latents)
    series.pictures.append(model.decode(latents))
    return latents
