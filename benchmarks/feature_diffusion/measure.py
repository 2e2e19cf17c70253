"""The claims of the paper's abstract, measured on the digits.

Activations cluster around the centroid of their class, centroids separate and lie in few dimensions, conditional
samples are of their class and diverse, and samples guided to a mean of two centroids lie between the two classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...kernels.centroids import classical_scaling, squared_separations
from ...kernels.similarity import cosine_kernel
from ...kernels.vendi import vendi_score
from .data import CLASSES, Digits, Reader
from .network import FeatureDenoiser
from .sampling import ClassCentroids, read_centroids, sample
from .training import SIGMA_MIN

PAIRS = ((0, 6), (1, 7), (3, 8), (4, 9), (2, 3))
STEPS_BETWEEN = 5
LEVELS_SHOWN = (0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Clustering:
    """Features of held-out images at one noise level.

    Attributes:
        sigma: noise level.
        nearest: fraction of images whose nearest centroid is that of their class.
        separation: mean squared distance of two centroids over the mean squared distance of an image to its own.
    """

    sigma: float
    nearest: float
    separation: float


@dataclass(frozen=True)
class ClassSamples:
    """Images sampled with the centroid of one class.

    Attributes:
        share: fraction that the reader assigns to the class.
        vendi: their Vendi Score in pixels, order 1, centred cosine kernel.
        vendi_real: that of as many held-out images of the class.
        copied: fraction closer to a training image than any two training images of the class are to one another.
    """

    share: float
    vendi: float
    vendi_real: float
    copied: float


@dataclass(frozen=True)
class Between:
    """Images sampled between two classes.

    Attributes:
        pair: the two classes.
        places: mean coordinate of the samples' features on the line between the centroids, 0 and 1 at its ends.
        shares: fractions that the reader assigns to the first class, the second, and any other, (steps, 3).
    """

    pair: tuple[int, int]
    places: list[float]
    shares: list[list[float]]


def clustering(network: FeatureDenoiser, digits: Digits, centroids: ClassCentroids) -> list[Clustering]:
    """Distances of held-out features to the centroids."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for sigma in LEVELS_SHOWN:
        noisy = digits.test + sigma * torch.randn(digits.test.shape, generator=generator)
        features = torch.cat(network(noisy)[1], 1)
        places = _places(centroids, sigma)
        distances = torch.cdist(features, places).square()
        own = distances.gather(1, digits.test_labels[:, None]).mean()
        between = torch.pdist(places).square().mean()
        nearest = (distances.argmin(1) == digits.test_labels).float().mean()
        found.append(Clustering(sigma, float(nearest), float(between / own)))
    return found


def dimensions(centroids: ClassCentroids) -> Tensor:
    """Fraction of the variance along each axis of the Euclidean map of the ten centroids, (9,)."""
    means = list(centroids.layers)
    return classical_scaling(squared_separations(means, [torch.zeros_like(mean) for mean in means]))[1]


def class_samples(
    network: FeatureDenoiser,
    digits: Digits,
    reader: Reader,
    centroids: ClassCentroids,
    count: int,
    seed: int,
    beyond: float = 0.0,
) -> tuple[list[ClassSamples], Tensor]:
    """Sample every class, guided to its centroid or ``beyond`` it, away from the mean of all centroids.

    Also returns the images, (10, count, 1, 8, 8).
    """
    results, images = [], []
    for digit in range(CLASSES):
        weights = (1 + beyond) * one_hot(torch.tensor(digit), CLASSES).float() - beyond / CLASSES
        sampled = sample(network, count, seed + digit, centroids, weights)
        share = (reader.classes(sampled) == digit).float().mean()
        train = digits.of_class(digit).flatten(1)
        real = digits.test[digits.test_labels == digit][:count]
        size = min(len(real), count)
        closest = torch.pdist(train).min()
        copied = (torch.cdist(sampled.flatten(1), train).amin(1) < closest).float().mean()
        centre = train.mean(0)
        spread = [vendi_score(cosine_kernel(part[:size].flatten(1) - centre)) for part in (sampled, real)]
        results.append(ClassSamples(float(share), spread[0], spread[1], float(copied)))
        images.append(sampled)
    return results, torch.stack(images)


def between_classes(
    network: FeatureDenoiser, reader: Reader, centroids: ClassCentroids, count: int, seed: int
) -> tuple[list[Between], Tensor]:
    """Sample between classes; also returns the images, (pairs, steps, count, 1, 8, 8)."""
    results, images = [], []
    for first, second in PAIRS:
        ends = one_hot(torch.tensor([first, second]), CLASSES).float()
        sampled = [
            sample(network, count, seed, centroids, torch.lerp(ends[0], ends[1], step / (STEPS_BETWEEN - 1)))
            for step in range(STEPS_BETWEEN)
        ]
        shown = [reader.classes(part) for part in sampled]
        shares = [[float((c == digit).float().mean()) for digit in (first, second)] for c in shown]
        places = [_place_on_line(network, part, centroids, first, second) for part in sampled]
        results.append(Between((first, second), places, [[a, b, 1 - a - b] for a, b in shares]))
        images.append(torch.stack(sampled))
    return results, torch.stack(images)


def unguided(network: FeatureDenoiser, reader: Reader, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of the plain score, (count, 1, 8, 8), and the fraction of every class among them, (10,)."""
    sampled = sample(network, count, seed)
    return sampled, one_hot(reader.classes(sampled), CLASSES).float().mean(0)


def centroids_of(network: FeatureDenoiser, digits: Digits) -> ClassCentroids:
    """The centroids of the ten classes, from the training images."""
    return read_centroids(network, [digits.of_class(digit) for digit in range(CLASSES)])


def _places(centroids: ClassCentroids, sigma: float) -> Tensor:
    """All layers' centroids at a noise level, (G, D)."""
    groups = len(centroids.layers[0])
    return torch.cat(centroids.at(torch.eye(groups), torch.full((groups,), sigma)), 1)


def _place_on_line(
    network: FeatureDenoiser, images: Tensor, centroids: ClassCentroids, first: int, second: int
) -> float:
    """Mean coordinate of finished images on the line between two centroids, at the lowest noise level."""
    start, end = _places(centroids, SIGMA_MIN)[[first, second]]
    generator = torch.Generator().manual_seed(2)
    noisy = images + SIGMA_MIN * torch.randn(images.shape, generator=generator)
    features = torch.cat(network(noisy)[1], 1)
    line = end - start
    return float(((features - start) @ line / (line @ line)).mean())
