"""The one contract between samplers and guidances.

A host (ComfyUI through ``nodes/host/sampling.py``, diffusers through ``diffusers/steering.py``, the embedded model
through ``embedded/model.py``) calls, for one sampling run,

1. ``begin(run)`` once,
2. ``guidance(denoised, step)`` for every evaluation of the model (some samplers evaluate more than once a step, at
   noise levels between those of the schedule),
3. ``finish(samples)`` once with the final latents.

All latents are in the model's own space, as the network sees them; ``SamplingRun.to_model_space`` maps raw VAE latents
to it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .trace import Trace


def identity(latents: Tensor) -> Tensor:
    """Return the latents unchanged: the map between equal spaces."""
    return latents


def no_estimate() -> None:
    """The unconditional estimate of a host without a negative prompt."""


def shape_text(shape: Sequence[int]) -> str:
    """A latent shape for a sentence: "16 x 64 x 64"."""
    return " x ".join(map(str, shape))


def seeded_generator(seed: int, stream: str) -> torch.Generator:
    """A CPU generator that depends on the seed and the stream's name alone, never on the global random state."""
    digest = hashlib.sha256(f"{seed}:{stream}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class SamplingRun:
    """What a host tells before the first step.

    Attributes:
        batch_size: number of samples B in the batch.
        latent_shape: shape (C, ...) of one sample in the model's space.
        sigmas: noise levels of the schedule, descending, shape (steps + 1,), float32 on the CPU.
        device: where the latents live.
        latent_format: name of the host's latent format, such as "SD3"; banks never mix formats.
        seed: the sampler's seed.
        to_model_space: maps raw VAE latents (N, C, ...) to the model's space.
        encoder: fingerprint of the VAE whose latents these are; "" where the host does not know it.
    """

    batch_size: int
    latent_shape: tuple[int, ...]
    sigmas: Tensor
    device: torch.device
    latent_format: str
    seed: int
    to_model_space: Callable[[Tensor], Tensor] = identity
    encoder: str = ""

    def generator(self, stream: str) -> torch.Generator:
        """A CPU generator that depends on the run's seed and the name of the stream alone."""
        return seeded_generator(self.seed, stream)


@dataclass(frozen=True)
class SamplingStep:
    """What a host tells at one evaluation of the model.

    Attributes:
        sigma: noise level of this evaluation.
        next_sigma: the next lower level of the schedule (0 at the last step).
        progress: position in this run's schedule, 0 at its first level and 1 at its last.
        noisy: the sample x at ``sigma``, shape (B, C, ...).
        conditional: estimate of x0 from the prompt alone, before classifier-free guidance, shape (B, C, ...); the
            very tensor ``denoised`` without classifier-free guidance.
        mask: inpainting mask, broadcastable to the latents, 1 where the image may change; None for everywhere.
        unconditional: returns the estimate of x0 from the negative or empty prompt, shape (B, C, ...), or None if the
            host has no such prompt. Without classifier-free guidance the first call of a step costs one evaluation of
            the model.
    """

    sigma: float
    next_sigma: float
    progress: float
    noisy: Tensor
    conditional: Tensor
    mask: Tensor | None = None
    unconditional: Callable[[], Tensor | None] = no_estimate

    def following(self, denoised: Tensor, steered: Tensor) -> SamplingStep:
        """The step for the next guidance after one has turned ``denoised`` into ``steered``.

        The conditional estimate moves by the same vector, so that no guidance mistakes another's push for
        classifier-free guidance.
        """
        if steered is denoised:
            return self
        moved = steered if self.conditional is denoised else self.conditional + (steered - denoised)
        return replace(self, conditional=moved)


@dataclass
class Need:
    """State shared by prompt easing and a method that counts different images.

    Attributes:
        short: whether too few images differ, so that the prompt should be eased; set by the method.
        silent: whether the last estimates were made without the prompt; set by prompt easing.
    """

    short: bool = False
    silent: bool = False


class Guidance(ABC):
    """A method that steers one sampling run at a time by changing its estimates of x0."""

    @abstractmethod
    def begin(self, run: SamplingRun) -> None:
        """Discard the previous run and prepare for this one.

        Raises:
            ValueError: the method's inputs do not fit the run.
        """

    @abstractmethod
    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Return the steered estimate of x0, shape (B, C, ...); the very same tensor if there is nothing to do."""

    @abstractmethod
    def finish(self, samples: Tensor) -> Tensor:
        """Close the trace and return the final latents, shape (B, C, ...).

        A method that guarantees something about the result enforces it here, whatever the sampler did in its last
        step. All others return the very same tensor.
        """

    def corrected(self, samples: Tensor) -> Tensor:
        """Correct further results of the run, (B, C, ...), such as the sampler's last estimate, as ``finish`` would.

        Called after ``finish``, or instead of it where the run leaves noise in its final latents. Methods that
        guarantee nothing return the very same tensor.
        """
        return samples

    def replaces_prompt(self, sigma: float) -> bool:
        """Whether this method replaces the prompt's estimate by the unconditional one at a noise level.

        Without classifier-free guidance the host then evaluates the negative prompt only.
        """
        return False

    @property
    def need(self) -> Need | None:
        """What it tells prompt easing that goes before it; None where it counts no images."""
        return None

    @property
    @abstractmethod
    def trace(self) -> Trace:
        """What happened in the current or last run."""

    @property
    def host_trace(self) -> Trace:
        """The trace that a host writes to; the ``trace`` of several methods is a copy."""
        return self.trace

    @property
    def protects(self) -> bool:
        """Whether the run must fail if this method cannot steer it, because it protects something."""
        return False

    @property
    def guarantees(self) -> bool:
        """Whether ``finish`` guarantees something about the final latents, so that the run must fail without it."""
        return False


class Chain(Guidance):
    """Several guidances in sequence: each steers the estimate of the one before.

    Args:
        guidances: the links, first to last.
    """

    def __init__(self, guidances: Sequence[Guidance]) -> None:
        self.guidances = tuple(guidances)

    def begin(self, run: SamplingRun) -> None:
        """Begin every link."""
        for guidance in self.guidances:
            guidance.begin(run)

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """Pass the estimate through every link."""
        return self.through(denoised, step)[0]

    def through(self, denoised: Tensor, step: SamplingStep, links: slice = slice(None)) -> tuple[Tensor, SamplingStep]:
        """Pass the estimate through some links, for hosts in which others act between them.

        Returns:
            The steered estimate, and the step for the next link.
        """
        for guidance in self.guidances[links]:
            steered = guidance(denoised, step)
            step = step.following(denoised, steered)
            denoised = steered
        return denoised, step

    def finish(self, samples: Tensor) -> Tensor:
        """Pass the final latents through every link, and record in every trace which samples are not finite."""
        for guidance in self.guidances:
            samples = guidance.finish(samples)
        lost = (~samples.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        for guidance in self.guidances:
            guidance.host_trace.not_finite = lost
        return samples

    def replaces_prompt(self, sigma: float) -> bool:
        """Whether a link replaces the prompt's estimate."""
        return any(guidance.replaces_prompt(sigma) for guidance in self.guidances)

    def corrected(self, samples: Tensor) -> Tensor:
        """Pass further results of the run through every link."""
        for guidance in self.guidances:
            samples = guidance.corrected(samples)
        return samples

    @property
    def trace(self) -> Trace:
        """All links' records, in the order of the links."""
        return Trace.concat([guidance.trace for guidance in self.guidances])

    @property
    def host_trace(self) -> Trace:
        """The trace of the last link."""
        return self.guidances[-1].host_trace

    @property
    def protects(self) -> bool:
        """Whether a link protects something."""
        return any(guidance.protects for guidance in self.guidances)

    @property
    def guarantees(self) -> bool:
        """Whether a link guarantees something about the final latents."""
        return any(guidance.guarantees for guidance in self.guidances)


@dataclass(frozen=True)
class DenoiseMask:
    """Where the samples of a run may change.

    A soft mask counts wherever it is above 0: there a sampler changes the sample, in every step or, with Differential
    Diffusion, in later ones.

    Attributes:
        rows: 1 where a sample may change and 0 where it is fixed, shape (B, D).
        uniform: whether all rows are the same.
    """

    rows: Tensor
    uniform: bool

    @classmethod
    def from_mask(cls, mask: Tensor | None, run: SamplingRun) -> DenoiseMask | None:
        """From a mask in [0, 1] that broadcasts to the latents, for one sample or for each; None for everywhere."""
        if mask is None:
            return None
        samples = len(mask) if mask.ndim > len(run.latent_shape) else 1
        full = mask.to(run.device).broadcast_to((samples, *run.latent_shape))
        return cls._from_rows(full.flatten(1) > 0, run.batch_size)

    @classmethod
    def _from_rows(cls, free: Tensor, batch_size: int) -> DenoiseMask | None:
        uniform = bool((free == free[:1]).all())
        if uniform and bool(free[:1].all()):
            return None
        return cls((free[:1] if uniform else free).float().expand(batch_size, -1), uniform)

    @property
    def distinct(self) -> Tensor:
        """The distinct rows, shape (1, D) or (B, D)."""
        return self.rows[:1] if self.uniform else self.rows

    @property
    def fractions(self) -> Tensor:
        """Fraction of each sample that may change, shape (B,)."""
        return self.rows.mean(1)

    @property
    def common_fractions(self) -> Tensor:
        """Fraction in which both of two samples may change, shape (B, B)."""
        return self.rows @ self.rows.T / self.rows.shape[1]

    def union(self, other: DenoiseMask | None) -> DenoiseMask | None:
        """Where either mask lets a sample change; the very same mask if the other adds nothing."""
        if other is None:
            return None
        if bool((other.rows <= self.rows).all()):
            return self
        return self._from_rows(torch.maximum(self.rows, other.rows) > 0, len(self.rows))
