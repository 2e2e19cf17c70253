"""The two directions against published values, central differences and the whole set."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diversity_guidance.guidance.prompts import Prompts, prompt_vectors
from diversity_guidance.guidance.vendi.directions import (
    UNRELATED,
    Embeddings,
    diversity_gradient,
    exemplar_gradient,
)
from diversity_guidance.guidance.vendi.settings import VendiSettings
from diversity_guidance.kernels.similarity import gaussian_kernel, unit_rows
from diversity_guidance.kernels.vendi import (
    log_vendi_gradient,
    log_vendi_gradient_gaussian,
    order_two_force,
    vendi_score,
)
from torch import Tensor

COSINE = VendiSettings(kernel="cosine")


def rows(seed: int, count: int, size: int = 6) -> Tensor:
    return unit_rows(torch.from_numpy(np.random.default_rng(seed).standard_normal((count, size))))


def tangent(gradient: Tensor, at: Tensor) -> Tensor:
    return gradient - (gradient * at).sum(-1, keepdim=True) * at


def test_the_papers_objective() -> None:
    """Bank and exemplars of two, beta 2: the gradient of VS(bank + x) - 2 VS(exemplars + x)."""
    five = rows(5, 5, 4)
    batch = Embeddings(five[4:])
    paper = VendiSettings.paper()
    away = diversity_gradient(batch, Embeddings(five[:2]), paper)
    near = exemplar_gradient(batch, Embeddings(five[2:4]), paper)
    gradient = tangent(away.gradient + paper.beta * near.gradient, five[4:])[0]
    expected = [-0.4432798116, -0.4743502946, 0.2101655802, 0.9356911263]
    assert gradient.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("kernel", ["gaussian", "cosine"])
def test_a_batch_spreads_with_its_bank(order: float, kernel: str) -> None:
    """The direction is that of the whole set's gradient, whatever the order."""
    settings = VendiSettings(order=order, kernel=kernel, bandwidth=0.5)  # type: ignore[arg-type]
    bank, batch = rows(1, 7), rows(2, 3)
    found = diversity_gradient(Embeddings(batch), Embeddings(bank), settings).gradient
    joined, last = torch.cat([bank, batch]), torch.arange(7, 10)
    if kernel == "cosine":
        whole = log_vendi_gradient(joined, order, last)
    else:
        whole = log_vendi_gradient_gaussian(joined, 0.5 * UNRELATED, order, last)
    # Order 2 leaves out one positive factor for all rows.
    assert torch.allclose(found / found.norm(), whole / whole.norm(), atol=1e-9)


def test_order_two_beside_many_rows_is_the_gradient_of_the_whole_set() -> None:
    moving, others, condition = rows(3, 2), rows(4, 9), prompt_vectors(["a b", "a c"] + ["a b", "d", "c a"] * 3)
    joined = torch.cat([moving, others])
    similarity = (condition @ condition.T).double()
    for width in (None, 0.6):
        kernel = joined @ joined.T if width is None else gaussian_kernel(joined, bandwidth=width)
        scale = (kernel * similarity).square().sum() / 4
        whole = (
            log_vendi_gradient(joined, 2.0, torch.arange(2), similarity)
            if width is None
            else log_vendi_gradient_gaussian(joined, width, 2.0, torch.arange(2), similarity)
        )
        assert torch.allclose(order_two_force(moving, others, width, similarity[:2]), scale * whole, atol=1e-9)


def test_a_step_along_the_direction_raises_the_score() -> None:
    settings = VendiSettings(bandwidth=0.4)
    bank, batch = rows(1, 5), rows(2, 3)
    gradient = tangent(diversity_gradient(Embeddings(batch), Embeddings(bank), settings).gradient, batch)

    def score(moved: Tensor) -> float:
        return vendi_score(gaussian_kernel(torch.cat([bank, unit_rows(moved)]), bandwidth=0.4 * UNRELATED))

    step = 1e-3 * gradient / gradient.norm()
    assert score(batch + step) > score(batch) > score(batch - step)


def test_a_step_towards_exemplars_lowers_their_score() -> None:
    exemplars, image = rows(1, 3), rows(2, 1)
    gradient = tangent(exemplar_gradient(Embeddings(image), Embeddings(exemplars), COSINE).gradient, image)

    def score(moved: Tensor) -> float:
        joined = torch.cat([exemplars, unit_rows(moved)])
        return vendi_score(joined @ joined.T)

    step = 1e-3 * gradient / gradient.norm()
    assert score(image + step) < score(image) < score(image - step)


def test_the_nearest_exemplar_draws_most_from_any_distance() -> None:
    exemplars, image = torch.eye(6, dtype=torch.float64)[:3], torch.zeros(1, 6, dtype=torch.float64)
    for closeness in (0.05, 0.5, 5.0):
        image[0, 0], image[0, 5] = closeness, 1.0
        at = unit_rows(image)
        pull = tangent(exemplar_gradient(Embeddings(at), Embeddings(exemplars), VendiSettings()).gradient, at)[0]
        assert pull[0] > 1e-3 * pull.norm() > 0
        assert pull[0] > pull[1:3].abs().max()


def test_shares_do_not_shrink_as_the_bank_grows() -> None:
    """The published gradients do: at 180 images the exemplars weigh fifteen times as much."""
    batch = rows(2, 1)
    twin = unit_rows(batch + 0.1 * rows(3, 1))
    settings = VendiSettings(in_batch=False)
    small = diversity_gradient(Embeddings(batch), Embeddings(twin), settings).weight
    large = diversity_gradient(Embeddings(batch), Embeddings(torch.cat([twin, rows(4, 500)])), settings).weight
    assert large.tolist() == pytest.approx(small.tolist())
    assert 0.5 < float(small) <= 1


def test_only_images_of_similar_prompts_push() -> None:
    batch = rows(1, 1)
    near, far = unit_rows(batch + 0.2 * rows(3, 1)), unit_rows(batch + 0.2 * rows(4, 1))
    prompts = Prompts.from_words(["a red car", "A red car!", "two dogs"])
    settings = VendiSettings(in_batch=False)
    known = Embeddings(torch.cat([near, far]), prompts.take(torch.tensor([1, 2])))
    found = diversity_gradient(Embeddings(batch, prompts.take(torch.tensor([0]))), known, settings)
    alone = diversity_gradient(Embeddings(batch), Embeddings(near), settings)
    assert found.distances[0, 1] == math.inf
    assert found.weight.tolist() == pytest.approx(alone.weight.tolist())
    cosine = torch.cosine_similarity(tangent(found.gradient, batch), tangent(alone.gradient, batch))
    assert float(cosine) == pytest.approx(1, abs=1e-6)


def test_unknown_prompts_are_like_each_other_alone() -> None:
    vectors = prompt_vectors([None, "", "cat", "?!"])
    assert (vectors @ vectors.T).round().tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]


def test_encoded_prompts_are_compared_by_a_kernel_that_tells_them_apart() -> None:
    """Encodings of unrelated prompts still have a cosine of one half and more."""
    shared = torch.ones(1, 64)
    vectors = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    vectors[1] = vectors[0] + 0.3 * vectors[3]
    prompts = Prompts.from_encodings(5 * (shared + vectors))
    similarity = prompts.similarity(prompts)
    assert torch.cosine_similarity(shared + vectors[:1], shared + vectors[2:3]) > 0.4
    assert similarity[0, 2] < 0.1 < 0.5 < similarity[0, 1]
    assert similarity.diagonal().tolist() == pytest.approx([1] * 4)
    assert torch.linalg.eigvalsh(similarity.double()).min() > -1e-6


def test_the_nearest_of_ten_thousand() -> None:
    """Images beyond the neighbours do not matter to a kernel that forgets them."""
    batch = rows(1, 2)
    near = unit_rows(batch.repeat(3, 1) + 0.3 * rows(5, 6))
    far = rows(6, 10_000)
    far = far[(far @ batch.T).amax(1) < 0]
    bank = Embeddings(torch.cat([far[:5000], near, far[5000:]]))
    few = diversity_gradient(Embeddings(batch), bank, VendiSettings(neighbours=6, bandwidth=0.1)).gradient
    only = diversity_gradient(Embeddings(batch), Embeddings(near), VendiSettings(bandwidth=0.1)).gradient
    assert torch.cosine_similarity(few, only).tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("in_batch", [True, False])
def test_inner_products_see_a_whole_bank_which_is_decomposed_once(in_batch: bool) -> None:
    bank, batch = Embeddings(rows(1, 400)), rows(2, 2)
    settings = VendiSettings(kernel="cosine", neighbours=5, in_batch=in_batch)
    found = diversity_gradient(Embeddings(batch), bank, settings).gradient
    spectrum = bank.spectrum
    diversity_gradient(Embeddings(-batch), bank, settings)
    assert bank.spectrum is spectrum
    for row in range(2):
        joined = torch.cat([bank.features, batch if in_batch else batch[row : row + 1]])
        whole = log_vendi_gradient(joined, rows=torch.tensor([400 + row * in_batch]))
        torch.testing.assert_close(found[row : row + 1], whole, atol=1e-9, rtol=0)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("kernel", ["gaussian", "cosine"])
@pytest.mark.parametrize("bandwidth", [0.0, 0.2])
def test_degenerate_sets_are_finite(order: float, kernel: str, bandwidth: float) -> None:
    settings = VendiSettings(order=order, kernel=kernel, bandwidth=bandwidth)  # type: ignore[arg-type]
    same, orthogonal = rows(1, 1).repeat(4, 1), torch.eye(6, dtype=torch.float64)[:4]
    for batch in (same, orthogonal, same[:1]):
        for bank in (same[:0], same, orthogonal):
            found = diversity_gradient(Embeddings(batch), Embeddings(bank), settings)
            assert found.gradient.isfinite().all()
            assert ((found.weight >= 0) & (found.weight <= 1)).all()
        assert exemplar_gradient(Embeddings(batch), Embeddings(orthogonal), settings).gradient.isfinite().all()
