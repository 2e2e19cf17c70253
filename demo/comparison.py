"""The same prompt and seeds sampled twice: without guidance, then with Sparse Repellency and a growing bank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..embedded.latent_space import LATENT_FORMAT
from ..embedded.model import EmbeddedModel
from ..guidance.base import Guidance
from ..guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ..guidance.trace import Trace
from ..stores.bank.bank import MemoryBank

SEED_STRIDE = 1000
"""Distance between the seeds of consecutive batches, so that neighbouring series share none."""


@dataclass(frozen=True)
class Request:
    """What to sample.

    Attributes:
        prompt: words that the embedded model knows.
        count: images per batch.
        batches: sampled one after the other.
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
            raise ValueError("Ask for at least one image and one batch.")

    def seeds(self) -> list[int]:
        """The seed of every batch."""
        return [self.seed + SEED_STRIDE * batch for batch in range(self.batches)]


@dataclass
class Series:
    """All batches sampled one way.

    Attributes:
        images: one tensor (count, 3, H, W) in 0..1 per batch.
        latents: raw VAE latents of each batch.
        traces: what the guidance did in each batch; empty for the unguided series.
        names: bank ids of each batch's images; empty for the unguided series.
    """

    images: list[Tensor] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    names: list[Sequence[str]] = field(default_factory=list)

    def all_images(self) -> Tensor:
        """All images, in the order they were sampled."""
        return torch.cat(self.images)

    def all_latents(self) -> Tensor:
        """All images' latents, in the order they were sampled."""
        return torch.cat(self.latents)


Tick = Callable[[int, int], None]
"""Told (steps done, steps in all) of a series."""


def sample_unguided(model: EmbeddedModel, request: Request, tick: Tick) -> Series:
    """Sample every batch without guidance."""
    series = Series()
    for batch in range(request.batches):
        _sample(model, request, batch, None, series, tick)
    return series


def sample_guided(
    model: EmbeddedModel,
    request: Request,
    settings: RepellencySettings,
    bank: MemoryBank,
    tick: Tick,
) -> Series:
    """Sample every batch away from itself and from the bank, then add it to the bank."""
    series = Series()
    for batch, seed in enumerate(request.seeds()):
        guidance = SparseRepellency(settings, [bank.snapshot()])
        latents = _sample(model, request, batch, guidance, series, tick)
        remembered = bank.append(latents, latent_format=LATENT_FORMAT, prompts=request.prompt, seeds=seed)
        series.traces.append(guidance.trace)
        series.names.append(remembered.ids)
    return series


def _sample(
    model: EmbeddedModel, request: Request, batch: int, guidance: Guidance | None, series: Series, tick: Tick
) -> Tensor:
    def progress(done: int, steps: int) -> None:
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
    series.images.append(model.decode(latents))
    return latents
