"""Bounds from projections: never more than the distance, and close to it where the data allow."""

from __future__ import annotations

import numpy as np
import pytest
from diversity_guidance.kernels.shields.projection_bounds import ROUNDING, fit_projection
from hypothesis import given, settings
from hypothesis import strategies as st
from support.index_data import KINDS, references


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(1, 60),
    width=st.integers(1, 50),
    dimensions=st.integers(1, 60),
    seed=st.integers(0, 2**31),
)
def test_no_distance_is_lengthened(kind: str, count: int, width: int, dimensions: int, seed: int) -> None:
    points = references(kind, count, width, seed).numpy()
    projection = fit_projection(points[: max(1, count // 2)], dimensions)
    inside = projection.coordinates(points)
    assert inside.shape == (count, min(dimensions, width) + 1)
    norms = np.linalg.norm(points.astype(np.float64) - projection.centre, axis=1)
    true = np.linalg.norm(points[:, None].astype(np.float64) - points, axis=2)
    bounds = np.linalg.norm(inside[:, None] - inside, axis=2)
    assert (bounds <= true + ROUNDING * (norms[:, None] + norms) + 1e-300).all()


def test_the_basis_is_orthonormal_and_sorted_by_variance() -> None:
    points = np.random.default_rng(0).standard_normal((500, 40)) * np.geomspace(1, 100, 40)
    basis = fit_projection(points, 8).basis
    np.testing.assert_allclose(basis @ basis.T, np.eye(8), atol=1e-12)
    variances = ((points - points.mean(0)) @ basis.T).var(0)
    assert (np.diff(variances) < 0).all()
    principal = np.linalg.eigvalsh(np.cov(points.T))[::-1][:8]
    np.testing.assert_allclose(variances.sum(), principal.sum(), rtol=0.02)


def test_the_norm_of_the_rest_tightens_the_bound() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((300, 64)) * rng.uniform(0.2, 3, (300, 1))
    inside = fit_projection(points, 8).coordinates(points)
    with_rest = np.linalg.norm(inside[:, None] - inside, axis=2).sum()
    without = np.linalg.norm(inside[:, None, :-1] - inside[:, :-1], axis=2).sum()
    assert with_rest > 1.1 * without


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_sample_gives_the_same_basis(kind: str) -> None:
    points = references(kind, 80, 33, 2).numpy()
    first, second = (fit_projection(points, 16) for _ in range(2))
    assert first.basis.tobytes() == second.basis.tobytes() and first.centre.tobytes() == second.centre.tobytes()
