"""``diversity-guidance bench vendi-cost``: time of a step of Vendi Guidance, by feature space and size of the bank.

Processor seconds of one call on the embedded model, beside those of one evaluation of the model with classifier-free
guidance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch

from ...embedded.autoencoder import Autoencoder
from ...embedded.latent_space import LATENT_FORMAT
from ...embedded.model import EmbeddedModel
from ...embedded.transformer import to_raw_latents
from ...features.colour_layout import ColourLayout
from ...features.random_network import RandomNetwork
from ...features.space import FeatureSpace
from ...guidance.base import Guidance, SamplingRun, SamplingStep
from ...guidance.trace import Trace
from ...guidance.vendi.guidance import VendiGuidance
from ...guidance.vendi.latent_features import LatentFeatures, MakeFeatures
from ...guidance.vendi.settings import VendiSettings
from ...stores.bank.snapshot import BankSnapshot

STEPS = 6


@dataclass(frozen=True)
class Cost:
    """Processor seconds.

    Attributes:
        what: description of the case.
        begin: at the start of a run, with the excess of the first call over later ones.
        step: one call.
        model: one evaluation of the model for the same batch.
    """

    what: str
    begin: float
    step: float
    model: float

    def __str__(self) -> str:
        return f"| {self.what} | {self.begin:.3f} | {self.step:.4f} | {self.step / self.model:.1%} |"


class Clocked(Guidance):
    """Times another guidance, and the model between its calls.

    Args:
        guidance: to be timed.
    """

    def __init__(self, guidance: Guidance) -> None:
        self.guidance = guidance
        self.begins = 0.0
        self.steps: list[float] = []
        self.models: list[float] = []
        self._last = 0.0

    def begin(self, run: SamplingRun) -> None:
        """Begin it."""
        start = time.process_time()
        self.guidance.begin(run)
        self._last = time.process_time()
        self.begins = self._last - start

    def __call__(self, denoised: torch.Tensor, step: SamplingStep) -> torch.Tensor:
        """Call it."""
        start = time.process_time()
        self.models.append(start - self._last)
        denoised = self.guidance(denoised, step)
        self._last = time.process_time()
        self.steps.append(self._last - start)
        return denoised

    def finish(self, samples: torch.Tensor) -> torch.Tensor:
        """Finish it."""
        return self.guidance.finish(samples)

    @property
    def trace(self) -> Trace:
        """Its trace."""
        return self.guidance.trace


def decoded(space: FeatureSpace, autoencoder: Autoencoder) -> MakeFeatures:
    """A space of images behind the embedded decoder."""

    def decode(latents: torch.Tensor) -> torch.Tensor:
        raw = (to_raw_latents(latents) - autoencoder.shift) * autoencoder.scale
        pixels: torch.Tensor = autoencoder.network.decode(raw, return_dict=False)[0]
        return (pixels / 2 + 0.5).clamp(0, 1)

    return lambda run: LatentFeatures(space, decode)


def bank_of(count: int) -> BankSnapshot:
    """A bank of noise."""
    latents = torch.randn((count, 16, 8, 8), generator=torch.Generator().manual_seed(0))
    return BankSnapshot.empty().extended(latents, latent_format=LATENT_FORMAT)


def cases(model: EmbeddedModel) -> Sequence[tuple[str, Callable[[], VendiGuidance]]]:
    """All cases."""
    plain, many = VendiSettings(), bank_of(10_000)
    network = decoded(RandomNetwork(), model.autoencoder)
    layout = decoded(ColourLayout(), model.autoencoder)
    return (
        ("latents", lambda: VendiGuidance(plain)),
        ("random network behind the decoder", lambda: VendiGuidance(plain, features=network)),
        ("colour layout behind the decoder", lambda: VendiGuidance(plain, features=layout)),
        ("latents, bank of 10,000, 128 neighbours", lambda: VendiGuidance(plain, many)),
        ("latents, bank of 10,000, cosine", lambda: VendiGuidance(replace(plain, kernel="cosine"), many)),
        ("latents, bank of 10,000, order 2", lambda: VendiGuidance(replace(plain, order=2.0), many)),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=8, help="images a batch (default: 8)")


def run(arguments: argparse.Namespace) -> int:
    """Measure every case and print it."""
    model = EmbeddedModel.load()
    sys.stdout.write("| features | start of a run (s) | one step (s) | of the model's step |\n")
    sys.stdout.write("| --- | --- | --- | --- |\n")
    for what, make in cases(model):
        clocked = Clocked(make())
        model.sample(["doctor"] * arguments.count, 1, steps=STEPS, guidance=clocked)
        step = median(clocked.steps)
        begin = clocked.begins + max(0.0, clocked.steps[0] - step)
        sys.stdout.write(f"{Cost(what, begin, step, median(clocked.models))}\n")
        sys.stdout.flush()
    return 0
