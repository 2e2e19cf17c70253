"""``diversity-guidance bench digits``: how many different digits ten latents of a small autoencoder decode to.

The experiment of "Diversity in deep generative models and generative AI" (Turinici, arXiv 2202.09573) on the digits of
scikit-learn: independent latents, latents that quantise the ideal distribution (A1) or the encoded data set (A2), and
latents that quantise the ideal distribution while each alone stays an exact draw from it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..kernels.quantization import quantize_gaussian, stratified_chi_radii
from .sample_quantization import quantize_samples

LATENTS = 10
PIXELS = 64
HIDDEN = 128
EPOCHS = 120
BATCH = 128
NEIGHBOURS = 5

Sample = Callable[[torch.Generator], Tensor]
"""Samples latents, shape (LATENTS, dimension), float64."""


@dataclass(frozen=True)
class Count:
    """Different digits among ten.

    Attributes:
        method: how the latents were sampled.
        dimension: of a latent.
        distinct: mean over repetitions.
        error: standard error of that mean.
        norm: root mean square of the latents' numbers; 1 for Gaussian ones.
    """

    method: str
    dimension: int
    distinct: float
    error: float
    norm: float


class DigitAutoencoder(nn.Module):
    """A variational autoencoder (arXiv 1312.6114) of 8 x 8 digits with one hidden layer a side."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * dimension))
        self.decoder = nn.Sequential(nn.Linear(dimension, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))

    def encode(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents (B, dimension) sampled for images (B, 64) in 0..1, and their mean divergence from N(0, I)."""
        middle, log_variance = self.encoder(images).chunk(2, 1)
        latents = middle + (log_variance / 2).exp() * torch.randn(middle.shape, generator=generator)
        divergence = (middle.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        return latents, divergence


def trained(images: Tensor, dimension: int, seed: int) -> DigitAutoencoder:
    """An autoencoder trained on images (N, 64) in 0..1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitAutoencoder(dimension)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            latents, divergence = model.encode(images[rows], generator)
            loss = binary_cross_entropy_with_logits(model.decoder(latents), images[rows], reduction="sum")
            optimiser.zero_grad()
            (loss / len(rows) + divergence).backward()
            optimiser.step()
    return model.requires_grad_(False)


def methods(encoded: Tensor) -> dict[str, Sample]:
    """Ways of sampling ten latents, by name.

    Args:
        encoded: latents of the data set, (N, dimension).
    """
    dimension = encoded.shape[1]

    def independent(generator: torch.Generator) -> Tensor:
        return torch.randn((LATENTS, dimension), generator=generator, dtype=torch.float64)

    def exact(generator: torch.Generator) -> Tensor:
        start = independent(generator)
        radii = stratified_chi_radii(LATENTS, dimension, generator)
        return quantize_gaussian(start * (radii / start.norm(dim=1))[:, None], keep_norms=True)

    return {
        "independent": independent,
        "A1, ideal law": lambda generator: quantize_gaussian(independent(generator)),
        "A2, encoded data": lambda generator: quantize_samples(independent(generator), encoded),
        "A1, each an exact draw": exact,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--repetitions", type=int, default=200, help="sets of ten latents (default: 200)")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 8], help="of the latents (default: 2 8)")
    parser.add_argument("--seed", type=int, default=0, help="of training and sampling (default: 0)")
    parser.add_argument("--output", type=Path, help="also write the results to this JSON file")


def run(arguments: argparse.Namespace) -> int:
    """Train, sample, count and print a table.

    Raises:
        ValueError: scikit-learn is missing, or there are fewer than two repetitions.
    """
    if arguments.repetitions < 2:
        raise ValueError("Error bars need at least two repetitions.")
    images, classify = _digits()
    counts = []
    for dimension in arguments.dimensions:
        model = trained(images, dimension, arguments.seed)
        generator = torch.Generator().manual_seed(arguments.seed)
        encoded = model.encode(images, generator)[0].double()
        for name, sample in methods(encoded).items():
            sampled = [sample(torch.Generator().manual_seed(1000 + number)) for number in range(arguments.repetitions)]
            decoded = model.decoder(torch.cat(sampled).float()).sigmoid()
            distinct = [len(set(labels)) for labels in _chunks(classify(decoded), LATENTS)]
            norm = float(torch.cat(sampled).square().mean().sqrt())
            error = stdev(distinct) / len(distinct) ** 0.5
            counts.append(Count(name, dimension, mean(distinct), error, norm))
    sys.stdout.write(_as_markdown(counts) + "\n")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps([asdict(count) for count in counts], indent=1), encoding="utf-8")
    return 0


def _digits() -> tuple[Tensor, Callable[[Tensor], list[int]]]:
    """Images (N, 64) in 0..1, and a classifier of others."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.neighbors import KNeighborsClassifier
    except ModuleNotFoundError as error:
        raise ValueError("This benchmark needs scikit-learn: pip install scikit-learn brings it.") from error
    pixels, labels = load_digits(return_X_y=True)
    classifier = KNeighborsClassifier(NEIGHBOURS).fit(pixels / 16, labels)
    images = torch.from_numpy(pixels / 16).float()
    return images, lambda decoded: classifier.predict(decoded.numpy()).tolist()


def _chunks(values: list[int], size: int) -> list[list[int]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _as_markdown(counts: list[Count]) -> str:
    lines = [
        f"| latents | dimension | different digits of {LATENTS} | root mean square |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {count.method} | {count.dimension} | {count.distinct:.2f} ± {count.error:.2f} | {count.norm:.2f} |"
        for count in counts
    ]
    return "\n".join(lines)
