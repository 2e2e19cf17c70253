"""The trained method on digits: what must hold whatever the weights, and that a short training gets somewhere."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("sklearn", reason="the digits come with scikit-learn: pip install scikit-learn")

from diversity_guidance.benchmarks.feature_diffusion.data import CLASSES, Digits, Reader
from diversity_guidance.benchmarks.feature_diffusion.measure import centroids_of, clustering, dimensions
from diversity_guidance.benchmarks.feature_diffusion.network import FeatureDenoiser
from diversity_guidance.benchmarks.feature_diffusion.sampling import sample
from diversity_guidance.benchmarks.feature_diffusion.training import train


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits.load()


@pytest.fixture(scope="module")
def network(digits: Digits) -> FeatureDenoiser:
    """Trained for a few seconds."""
    return train(digits, 40)


def test_the_data_are_divided(digits: Digits) -> None:
    assert len(digits.train) + len(digits.test) == 1797
    assert digits.train.min() == -1
    assert digits.train.max() == 1
    assert set(digits.train_labels.tolist()) == set(range(CLASSES))


def test_the_reader_knows_the_held_out_digits(digits: Digits) -> None:
    assert Reader(digits).accuracy > 0.97


def test_a_weight_of_1_puts_the_features_on_the_centroid() -> None:
    """And nothing else of the activations changes."""
    torch.manual_seed(0)
    layer = FeatureDenoiser().encoder[0]
    layer.weight.data.fill_(1.0)
    image, centroid = torch.randn(2, 1, 8, 8), torch.randn(2, len(layer.weight))
    free, features = layer(image, None)
    guided, before = layer(image, centroid)
    assert torch.equal(features, before)
    assert torch.allclose(guided.mean((2, 3)), centroid, atol=1e-5)
    assert torch.allclose(guided - guided.mean((2, 3), keepdim=True), free - free.mean((2, 3), keepdim=True), atol=1e-5)


def test_own_features_as_the_centroid_change_nothing_at_the_first_layer() -> None:
    torch.manual_seed(0)
    layer = FeatureDenoiser().encoder[0]
    free, features = layer(torch.randn(2, 1, 8, 8), None)
    torch.manual_seed(0)
    layer = FeatureDenoiser().encoder[0]
    guided, _ = layer(torch.randn(2, 1, 8, 8), features)
    assert torch.allclose(free, guided, atol=1e-6)


def test_training_is_reproducible(digits: Digits) -> None:
    one, two = (train(digits, 2, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_features_cluster_and_the_guided_estimate_is_better(digits: Digits, network: FeatureDenoiser) -> None:
    centroids = centroids_of(network, digits)
    found = clustering(network, digits, centroids)
    assert found[0].nearest > 0.4  # chance is 0.1
    assert found[0].nearest > found[-1].nearest
    assert float(dimensions(centroids)[:3].sum()) > 0.6
    sigma = 1.5
    noisy = digits.test + sigma * torch.randn(digits.test.shape, generator=torch.Generator().manual_seed(0))
    weights = torch.nn.functional.one_hot(digits.test_labels, CLASSES).float()
    errors = [
        float((network(noisy, targets)[0] - digits.test).square().mean())
        for targets in (None, centroids.at(weights, torch.full((len(noisy),), sigma)))
    ]
    assert errors[1] < errors[0]


def test_sampling_ends_and_depends_on_the_seed_alone(digits: Digits, network: FeatureDenoiser) -> None:
    centroids = centroids_of(network, digits)
    weights = torch.nn.functional.one_hot(torch.tensor(3), CLASSES).float()
    one, two, other = (sample(network, 2, seed, centroids, weights, max_steps=40) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.isfinite().all()


def test_weights_blend_centroids(digits: Digits, network: FeatureDenoiser) -> None:
    """Halfway between two classes and noise levels lies the mean of both."""
    centroids = centroids_of(network, digits)
    ends = torch.eye(CLASSES)[[3, 8]]
    low, high = centroids.sigmas[4], centroids.sigmas[5]
    halfway = centroids.at(ends.mean(0, keepdim=True), ((low + high) / 2)[None])
    corners = [centroids.at(ends, torch.stack([sigma, sigma])) for sigma in (low, high)]
    for blend, first, second in zip(halfway, *corners, strict=True):
        assert torch.allclose(blend[0], (first + second).mean(0) / 2, atol=1e-5)
