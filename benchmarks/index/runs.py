"""Sampling runs of the embedded model for ``bench index``: the queries of an index, and the correct results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...embedded.autoencoder import Autoencoder
from ...embedded.model import EmbeddedModel
from ...embedded.reals import TILE
from ...embedded.transformer import to_raw_latents
from ...guidance.base import SamplingStep, identity
from ..modes import PROMPTS
from ..peers.plain_guidance import PlainGuidance
from .images import LatentFolder, RawEncoder, resized

CAUGHT = (0.01, 0.08, 0.5)
"""Fractions of the unguided images that end in a shield; each gives a radius."""

TEN_DIGITS = 1e-4
"""Relative distance from the radius within which a pair is measured by its difference, not by a product."""


class Recorder(PlainGuidance):
    """Keeps every conditional estimate of one run, as raw latents, and changes nothing."""

    name = "Recorder"

    def __init__(self) -> None:
        self.estimates: list[Tensor] = []

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """The same tensor."""
        self.estimates.append(to_raw_latents(step.conditional))
        return denoised


@dataclass(frozen=True)
class Runs:
    """Unguided runs.

    Attributes:
        estimates: conditional estimates of every step, float32 (runs, steps, batch, D).
        finals: final latents, float32 (runs * batch, D).
    """

    estimates: Tensor
    finals: Tensor

    @classmethod
    def sampled(cls, folder: Path, size: int, count: int, steps: int, batch: int, cfg: float) -> Runs:
        """Runs of the benchmark's prompts, one seed each, cached in the folder.

        The model samples its own size. For larger images every estimate is enlarged as an image.
        """
        path = folder / f"runs-{size}px-{count}x{steps}x{batch}-cfg{cfg:g}.safetensors"
        if not path.is_file():
            model, estimates, finals = EmbeddedModel.load(), [], []
            enlarge = _Enlarging(model.autoencoder, size) if size != TILE else identity
            for run in range(count):
                recorder = Recorder()
                prompts = [PROMPTS[run % len(PROMPTS)]] * batch
                final = model.sample(prompts, 100 + run, steps=steps, cfg=cfg, guidance=recorder)
                finals.append(enlarge(final))
                estimates.append(torch.stack([enlarge(estimate) for estimate in recorder.estimates]))
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {"estimates": torch.stack(estimates).flatten(3), "finals": torch.cat(finals).flatten(1)}
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        return cls(**load_file(path))


@dataclass(frozen=True)
class Truth:
    """The results of brute force.

    Attributes:
        radii: one for each fraction in ``CAUGHT``.
        inside: for each radius the pairs (query, reference), shape (M, 2), ascending; queries are numbered through
            runs, steps and batch.
    """

    radii: tuple[float, ...]
    inside: tuple[Tensor, ...]

    @classmethod
    def found(cls, runs: Runs, references: LatentFolder) -> Truth:
        """Compare every final latent, then every estimate, with every reference."""
        nearest = torch.full((len(runs.finals),), torch.inf)
        for block in _blocks(references):
            nearest = torch.minimum(nearest, torch.cdist(runs.finals, block).amin(1))
        fractions = torch.tensor(CAUGHT)
        radii = tuple(torch.quantile(nearest, fractions, interpolation="higher").mul(1 + 1e-6).tolist())
        queries = runs.estimates.flatten(0, 2)
        squares = queries.square().sum(1)
        found: list[Tensor] = []
        start = 0
        for block in _blocks(references):
            products = torch.addmm(block.square().sum(1), queries, block.T, alpha=-2)
            rows, columns = (products < max(radii) ** 2 * (1 + TEN_DIGITS) + 1e-2 - squares[:, None]).nonzero().T
            distances = (queries[rows] - block[columns]).double().norm(dim=1)
            found.append(torch.stack([rows.double(), columns.double() + start, distances], 1))
            start += len(block)
        pairs = torch.cat(found)
        pairs = pairs[(pairs[:, 0] * start + pairs[:, 1]).argsort()]
        return cls(radii, tuple(pairs[pairs[:, 2] < radius][:, :2].long() for radius in radii))


def _blocks(references: LatentFolder):
    for part in references.parts():
        yield torch.from_numpy(part.astype("float32")).flatten(1)


class _Enlarging:
    """Raw latents of the same images, ``size`` pixels wide and high, enlarged as the protected ones are."""

    def __init__(self, autoencoder: Autoencoder, size: int) -> None:
        self._autoencoder, self._size = autoencoder, size
        self._encoder = RawEncoder(torch.float32)

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        return self._encoder(resized(self._autoencoder.decode(latents), self._size))
