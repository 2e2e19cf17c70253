"""Spreading along the axes in which a model's own draws differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diversity_guidance.guidance.activations.guidance import FeatureGuidance
from diversity_guidance.guidance.activations.layers import Family, Layer
from diversity_guidance.guidance.activations.principal_axes import (
    MAX_AXES,
    MAX_STEP,
    OWN_EVALUATIONS,
    SHIFT,
    PrincipalAxes,
    lowest_level,
)
from diversity_guidance.guidance.activations.settings import FeatureSettings
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.kernels.centroids import channel_means, joint_principal_rows
from diversity_guidance.stores.centroid.centroid import FeatureCentroid, ModelFingerprint
from torch import Tensor, nn

LAYERS = ("blocks.0", "blocks.1")
WIDTH = 24


def reference(draws: int = 20, growth: float = 2.0) -> FeatureCentroid:
    """Of draws whose features differ twice as much at the lower of two noise levels, and in both layers alike."""
    generator = torch.Generator().manual_seed(3)
    scales = torch.linspace(3, 0.1, WIDTH)
    deviations = torch.randn(draws, WIDTH, generator=generator) * scales
    deviations = deviations - deviations.mean(0)
    features = {
        name: torch.stack([level * (at + 1) * deviations for level in (1.0, growth)]) + 5
        for at, name in enumerate(LAYERS)
    }
    rows = {name: values.mean(0) - 5 for name, values in features.items()}
    return FeatureCentroid(
        "own draws",
        ModelFingerprint("network", torch.arange(4.0)),
        "SD3",
        torch.tensor([1.0, 0.1]),
        {name: values.mean(1) for name, values in features.items()},
        {name: values.std(1) for name, values in features.items()},
        draws,
        joint_principal_rows({name: values / (draws - 1) ** 0.5 for name, values in rows.items()}, 32),
    )


def guidance(strength: float = 1.0, of: FeatureCentroid | None = None) -> FeatureGuidance:
    made = FeatureGuidance(FeatureSettings("spread", strength), dict.fromkeys(LAYERS, 1.0), None, of or reference())
    made.begin(run_of(torch.tensor([1.0, 0.1])))
    return made


def run_of(sigmas: Tensor) -> SamplingRun:
    return SamplingRun(4, (4, 8, 8), sigmas, torch.device("cpu"), "SD3", 0)


def layer(name: str) -> Layer:
    return Layer(name, nn.Identity(), Family("blocks"), -1)


def images(means: Tensor) -> Tensor:
    """Activations (B, 6, C) with these channel means."""
    noise = torch.randn(len(means), 6, means.shape[1], generator=torch.Generator().manual_seed(1))
    return means[:, None] + noise - noise.mean(1, keepdim=True)


@pytest.mark.parametrize("name", LAYERS)
def test_neighbours_go_to_the_two_ends_of_one_axis_and_other_pairs_along_others(name: str) -> None:
    shift = PrincipalAxes(reference(), LAYERS).shift(name, 1.0, 6)
    assert torch.allclose(shift[0::2], -shift[1::2])
    unit = shift[0::2] / shift[0::2].norm(dim=1, keepdim=True)
    assert torch.allclose(unit @ unit.T, torch.eye(3), atol=1e-4)


def test_the_first_pair_goes_where_draws_differ_most() -> None:
    own, axes = reference(), PrincipalAxes(reference(), LAYERS)
    direction = axes.shift("blocks.0", 1.0, 1)[0]
    variation = own.variation("blocks.0")
    most = torch.linalg.eigh((variation.T @ variation).double())[1][:, -1].float()
    assert abs(float(direction @ most)) == pytest.approx(float(direction.norm()), rel=1e-4)


def test_the_axes_of_large_batches_are_used_again() -> None:
    shift = PrincipalAxes(reference(), LAYERS).shift("blocks.0", 1.0, 2 * MAX_AXES + 2)
    assert torch.equal(shift[:2], shift[-2:])
    few = PrincipalAxes(reference(draws=3), LAYERS).shift("blocks.0", 1.0, 6)
    assert torch.equal(few[:2], few[4:])


@pytest.mark.parametrize(("sigma", "level"), [(1.0, 0), (0.1, 1)])
def test_places_are_in_standard_deviations_of_the_draws(sigma: float, level: int) -> None:
    own, axes = reference(), PrincipalAxes(reference(), LAYERS)
    direction = axes.shift("blocks.1", sigma, 2)
    direction = direction / direction.norm(dim=1, keepdim=True)
    deviation = (2 / 3, 4 / 3)[level] * float((own.variation("blocks.1") @ direction[0]).norm())
    means = own.means["blocks.1"][level] + torch.tensor([2.0, -0.5])[:, None] * deviation * direction
    assert torch.allclose(axes.coordinates("blocks.1", means, sigma), torch.tensor([2.0, -0.5]), atol=1e-4)


def test_channels_of_enormous_mean_do_not_blow_up_the_shift() -> None:
    own = reference()
    near = PrincipalAxes(own, LAYERS).shift("blocks.0", 0.1, 2)
    assert near[0].norm() == pytest.approx(SHIFT * float(own.means["blocks.0"][1].norm()), rel=1e-5)
    far = replace(own, means={name: mean + 1e4 for name, mean in own.means.items()})
    shift = PrincipalAxes(far, LAYERS).shift("blocks.0", 0.1, 2)
    assert shift[0].norm() == pytest.approx(MAX_STEP * float(own.spreads["blocks.0"][1].norm()), rel=1e-5)


def test_images_move_apart_until_they_are_where_they_should_be() -> None:
    made, own = guidance(1.0), reference()
    axes = PrincipalAxes(own, LAYERS)
    together = own.means["blocks.0"][0].expand(4, -1)
    made.open_pass(1.0, [slice(0, 4)])
    moved = channel_means(made.visit(layer("blocks.0"), images(together)), -1)
    assert (torch.pdist(moved) > 1).all()
    assert (axes.coordinates("blocks.0", moved, 1.0) > 1).all()
    made.open_pass(1.0, [slice(0, 4)])
    arrived = images(together + axes.shift("blocks.0", 1.0, 4))
    assert made.visit(layer("blocks.0"), arrived) is arrived
    assert not made.trace.coordinates


def test_every_pass_is_shifted_and_reads_its_own_places() -> None:
    made, own = guidance(1.0), reference()
    together = own.means["blocks.0"][0].expand(2, -1)
    arrived = together + PrincipalAxes(own, LAYERS).shift("blocks.0", 1.0, 2)
    made.open_pass(1.0, [slice(0, 2), slice(2, 4)])
    before = images(torch.cat([together, arrived]))
    after = made.visit(layer("blocks.0"), before)
    assert not torch.allclose(after[:2], before[:2], atol=1e-2)
    assert torch.allclose(after[2:], before[2:], rtol=1e-5)
    deeper = images(own.means["blocks.1"][0].expand(4, -1))
    assert torch.allclose(made.visit(layer("blocks.1"), deeper)[2:], deeper[2:], rtol=1e-5)


def test_only_spreading_with_a_reference_wants_every_pass() -> None:
    own, weights = reference(), dict.fromkeys(LAYERS, 1.0)
    assert guidance().every_pass
    assert not FeatureGuidance(FeatureSettings("spread"), weights).every_pass
    assert not FeatureGuidance(FeatureSettings("towards"), weights, own.renamed("a group"), own).every_pass


def test_a_image_alone_is_left_alone() -> None:
    made = guidance()
    made.open_pass(1.0, [slice(0, 1)])
    alone = images(reference().means["blocks.0"][:1])
    assert made.visit(layer("blocks.0"), alone) is alone


def test_a_smaller_strength_shifts_less_down_to_nothing() -> None:
    together = reference().means["blocks.0"][0].expand(2, -1)
    sizes = []
    for strength in (1.0, 0.1, 0.01):
        made = guidance(strength)
        made.open_pass(1.0, [slice(0, 2)])
        sizes.append(float(made._shift("blocks.0", together, 1.0, 0).norm()))
    assert sizes[0] == pytest.approx(10 * sizes[1], rel=1e-3)
    assert sizes[1] == pytest.approx(10 * sizes[2], rel=1e-3)


def test_a_reference_of_one_image_or_of_other_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="holds a single image"):
        guidance(of=replace(reference(), variations={}))
    with pytest.raises(ValueError, match=r"does not hold the layer blocks\.7"):
        FeatureGuidance(FeatureSettings("spread"), {"blocks.7": 1.0}, None, reference())


def test_draws_that_do_not_differ_in_a_layer_leave_it_alone() -> None:
    own = reference()
    flat = {**own.variations, "blocks.1": 0 * own.variations["blocks.1"]}
    still = {**own.spreads, "blocks.1": 0 * own.spreads["blocks.1"]}
    axes = PrincipalAxes(replace(own, variations=flat, spreads=still), LAYERS)
    assert not axes.shift("blocks.1", 1.0, 4).any()
    assert axes.coordinates("blocks.1", own.means["blocks.1"][:1].expand(4, -1), 1.0).isfinite().all()


def test_the_last_evaluations_of_a_run_are_the_models_own() -> None:
    sigmas = torch.linspace(1, 0, OWN_EVALUATIONS + 4)
    assert lowest_level(sigmas) == float(sigmas[2])
    assert lowest_level(sigmas[:-1]) == 0, "another run goes on"
    together = images(reference().means["blocks.0"][:1].expand(4, -1))
    made = guidance()
    made.begin(run_of(sigmas))
    for at, sigma in enumerate(sigmas[:-1].tolist()):
        made.open_pass(sigma, [slice(0, 4)])
        assert (made.visit(layer("blocks.0"), together) is together) == (at > 2)
        made(together, SamplingStep(sigma, 0.0, 0.0, together, together))
    assert made.finish(together) is together
    assert len(made.trace.steps) == made.trace.evaluations == 3


def test_a_run_with_too_few_steps_says_so() -> None:
    together = torch.zeros(4, 4, 8, 8)
    made = guidance()
    made.begin(run_of(torch.linspace(1, 0, OWN_EVALUATIONS + 1)))
    made(together, SamplingStep(1.0, 0.0, 0.0, together, together))
    assert made.finish(together) is together
    assert "this run has no others" in made.trace.summary()
    by_dilation = FeatureGuidance(FeatureSettings("spread"), dict.fromkeys(LAYERS, 1.0))
    by_dilation.begin(run_of(torch.tensor([1.0, 0.0])))
    assert not by_dilation.trace.notes
