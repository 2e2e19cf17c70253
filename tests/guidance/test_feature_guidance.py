"""Layers found in the module tree, hooks on them, and what Feature Guidance does there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diversity_guidance.guidance.activations.guidance import FeatureGuidance
from diversity_guidance.guidance.activations.hooks import LayerHooks
from diversity_guidance.guidance.activations.layers import (
    check_readable,
    find_layers,
    select_layers,
    summarise_layers,
)
from diversity_guidance.guidance.activations.probe import (
    ActivationReader,
    common_noises,
    make_centroid,
    network_fingerprint,
    own_noises,
)
from diversity_guidance.guidance.activations.settings import FeatureSettings
from diversity_guidance.guidance.activations.steering_vector import MAX_NORM, SHIFT, SteeringVector
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.kernels.centroids import channel_means
from diversity_guidance.stores.centroid.centroid import FeatureCentroid, ModelFingerprint, OtherModelError
from diversity_guidance.stores.centroid.noise import FeatureNoise
from torch import Tensor, nn

WIDTH = 6


class Block(nn.Module):
    """A residual block on tokens; returns the image alone or beside the text."""

    def __init__(self, place: int | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.place = place

    def forward(self, x: Tensor, text: Tensor | None = None) -> Any:
        x = x + self.linear(x).tanh()
        if self.place is None:
            return x
        return (x, text) if self.place == 0 else (text, x)


def blocks(place: int | None = None, count: int = 2) -> nn.ModuleList:
    return nn.ModuleList(Block(place) for _ in range(count))


class Alone(nn.Module):
    """Blocks that see the image alone, as in Wan."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = blocks()

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Beside(nn.Module):
    """The text beside the image, as in Stable Diffusion 3."""

    def __init__(self) -> None:
        super().__init__()
        self.joint_blocks = blocks(1)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        for block in self.joint_blocks:
            text, x = block(x, text)
        return x


class Joined(nn.Module):
    """Two streams, then one sequence with the image behind the text, as in Flux."""

    def __init__(self) -> None:
        super().__init__()
        self.double_blocks, self.single_blocks = blocks(0), blocks()

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        for block in self.double_blocks:
            x, text = block(x, text)
        both = torch.cat([text, x], 1)
        for block in self.single_blocks:
            both = block(both)
        return both[:, text.shape[1] :]


class HunyuanVideo(Joined):
    """The image before the text."""

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        for block in self.double_blocks:
            x, text = block(x, text)
        both = torch.cat([x, text], 1)
        for block in self.single_blocks:
            both = block(both)
        return both[:, : x.shape[1]]


class Refined(nn.Module):
    """One sequence whose image part a refiner has seen alone, as in Lumina."""

    def __init__(self) -> None:
        super().__init__()
        self.noise_refiner, self.layers = blocks(), blocks()

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        for block in self.noise_refiner:
            x = block(x)
        both = torch.cat([text, x], 1)
        for block in self.layers:
            both = block(both)
        return both[:, text.shape[1] :]


class Unet(nn.Module):
    """Steps whose modules are run one by one, as the host does."""

    def __init__(self) -> None:
        super().__init__()
        step = [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Tanh()]
        self.input_blocks = nn.ModuleList([nn.Sequential(*step)])
        self.middle_block = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
        self.output_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1))])

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        x = x.transpose(1, 2).unflatten(2, (2, -1))
        for step in (*self.input_blocks, self.middle_block, *self.output_blocks):
            for module in step:
                x = module(x)
        return x.flatten(2).transpose(1, 2)


NETWORKS = (Alone, Beside, Joined, HunyuanVideo, Refined, Unet)


def network_of(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return kind().requires_grad_(False)


def inputs(batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, 8, WIDTH, generator=generator), torch.randn(batch, 3, WIDTH, generator=generator)


def images_seen(network: nn.Module, x: Tensor, text: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def visit(layer: Any, image: Tensor) -> Tensor:
        seen[layer.name] = channel_means(image, layer.channel_axis)
        return image

    layers = find_layers(network)
    with LayerHooks(layers, [layer.name for layer in layers], visit):
        network(x, text)
    return seen


def centroid(network: nn.Module, name: str = "a group", shift: float = 0.0) -> FeatureCentroid:
    """Of three images at two noise levels."""
    reader, layers = ActivationReader(), find_layers(network)
    x, text = inputs()
    with LayerHooks(layers, [layer.name for layer in layers], reader.visit):
        for level in range(2):
            reader.expect(level, 0, len(x))
            network(x + shift + level, text)
    return make_centroid(
        reader.activation_means(), name, torch.tensor([1.0, 0.1]), network_fingerprint(network, layers), "SD3"
    )


def run_of(batch: int = 3, latent_format: str = "SD3") -> SamplingRun:
    return SamplingRun(batch, (4, 8, 8), torch.tensor([1.0, 0.5, 0.0]), torch.device("cpu"), latent_format, 0)


def steered(network: nn.Module, guidance: FeatureGuidance, rows: list[slice], sigma: float = 1.0) -> Tensor:
    x, text = inputs()
    layers = find_layers(network)
    with LayerHooks(layers, list(guidance.weights), guidance.visit):
        guidance.open_pass(sigma, rows)
        return network(x, text)


def weights(network: nn.Module) -> dict[str, float]:
    return {layer.name: 1.0 for layer in find_layers(network)}


def step_at(sigma: float) -> tuple[Tensor, SamplingStep]:
    estimate = torch.zeros(3, 4, 8, 8)
    return estimate, SamplingStep(sigma, sigma / 2, 1 - sigma, estimate, estimate)


@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_see_the_image_and_never_the_text(kind: type[nn.Module]) -> None:
    network = network_of(kind)
    x, text = inputs()
    seen = images_seen(network, x, text)
    assert set(seen) == {layer.name for layer in find_layers(network)}
    assert all(torch.equal(seen[name], other) for name, other in images_seen(network, x, 100 * text).items())
    last = list(seen)[-1]
    assert torch.allclose(seen[last], network(x, text).mean(1), atol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
def test_towards_the_centroid_changes_the_rows_of_the_prompt_only(kind: type[nn.Module]) -> None:
    network = network_of(kind)
    plain = network(*inputs())
    guidance = FeatureGuidance(FeatureSettings(strength=0.5), weights(network), centroid(network, shift=1.0))
    guidance.begin(run_of())
    changed = steered(network, guidance, [slice(1, 3)])
    assert torch.allclose(changed[0], plain[0], atol=1e-6)
    assert not torch.allclose(changed[1:], plain[1:], atol=1e-3)


@pytest.mark.parametrize(("mode", "sign"), [("towards", -1), ("away", 1)])
def test_features_come_nearer_or_go(mode: Any, sign: int) -> None:
    network = network_of(Alone)
    group = centroid(network, shift=1.0)
    guidance = FeatureGuidance(FeatureSettings(mode, 0.5), {"blocks.0": 1.0}, group)
    guidance.begin(run_of())
    seen: list[Tensor] = []
    layer = find_layers(network)[0]
    x, _ = inputs()
    guidance.open_pass(1.0, [slice(0, 3)])
    before = layer.module(x)
    seen = [channel_means(value, -1) for value in (before, guidance.visit(layer, before))]
    distances = [(means - group.means["blocks.0"][0]).norm(dim=1) for means in seen]
    assert ((distances[1] - distances[0]) * sign > 0).all()


def test_images_are_led_along_the_way_until_they_are_where_they_should_be() -> None:
    """Some that are before the reference, at it, just before their aim, and past it."""
    network, layer = network_of(Alone), "blocks.0"
    group, reference = centroid(network, shift=1.0), centroid(network, "plain")
    way = SteeringVector(group, reference, [layer])
    start, aim = reference.means[layer][0], 1.5
    places = torch.tensor([-2.0, 0.0, 1.25, 3.0])
    means = start + places[:, None] * (group.means[layer][0] - start)
    assert torch.allclose(way.coordinates(layer, means, 1.0), places, atol=1e-4)
    guidance = FeatureGuidance(FeatureSettings(strength=aim), {layer: 1.0}, group, reference)
    shift = guidance._shift(layer, means, 1.0, 0)
    expected = torch.tensor([1.0, 1.0, 0.25, 0.0])[:, None] * way.shift(layer, 1.0)
    assert torch.allclose(shift, expected, atol=1e-4)
    assert (way.coordinates(layer, means + shift, 1.0)[:3] > places[:3]).all()
    away = FeatureGuidance(FeatureSettings("away", aim), {layer: 1.0}, group, reference)
    back = torch.tensor([0.0, -1.0, -1.0, -1.0])[:, None] * way.shift(layer, 1.0)
    assert torch.allclose(away._shift(layer, means, 1.0, 0), back, atol=1e-4)


def test_a_place_means_the_same_at_all_noise_levels() -> None:
    """Draws whose features are their own plus noise: the places read spread as their own do, and keep their order."""
    generator = torch.Generator().manual_seed(2)
    levels, sizes, direction = torch.tensor([0.9, 0.5]), torch.tensor([3.0, 0.5]), torch.eye(WIDTH)[0]
    own, noises = (torch.randn(count, 400, WIDTH, generator=generator) for count in (1, 2))
    features = 5 + own.expand(2, -1, -1)
    noisy = features + sizes[:, None, None] * noises
    fingerprint = ModelFingerprint("Net", torch.zeros(0))

    def made(name: str, shift: Tensor, seen: Tensor | None) -> FeatureCentroid:
        own_noise = None if seen is None else {"b": seen}
        return make_centroid({"b": features + shift}, name, levels, fingerprint, "SD3", own_noise)

    reference, group = made("plain", torch.zeros(WIDTH), noisy), made("group", 2 * direction, None)
    way = SteeringVector(group, reference, ["b"])
    for level, sigma in enumerate(levels.tolist()):
        read = way.coordinates("b", noisy[level], sigma)
        assert float(read.std()) == pytest.approx(0.5, rel=0.1)
        assert float(torch.stack([read, noisy[level][:, 0]]).corrcoef()[0, 1]) > 0.99
    unaware = SteeringVector(group, made("plain", torch.zeros(WIDTH), None), ["b"])
    assert float(unaware.coordinates("b", noisy[0], 0.9).std()) == pytest.approx(1.6, rel=0.1)


def test_a_reference_that_does_not_know_noise_is_told_of() -> None:
    network = network_of(Alone)
    aware = replace(
        centroid(network), noises={name: FeatureNoise(torch.eye(1, WIDTH), torch.ones(2)) for name in weights(network)}
    )
    for reference, notes in ((aware, 0), (centroid(network), 1)):
        guidance = FeatureGuidance(FeatureSettings(), weights(network), centroid(network, shift=1.0), reference)
        guidance.begin(run_of())
        assert ["does not say how noise moves channel means" in note for note in guidance.trace.notes] == [True] * notes


def test_draws_that_are_alike_by_chance_do_not_silence_the_place() -> None:
    features = torch.ones(1, 4, WIDTH)
    noisy = features + torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(1))
    fingerprint, levels = ModelFingerprint("Net", torch.zeros(0)), torch.tensor([0.5])
    reference = make_centroid({"b": features}, "plain", levels, fingerprint, "SD3", {"b": noisy})
    group = make_centroid({"b": features + torch.eye(WIDTH)[0]}, "group", levels, fingerprint, "SD3")
    assert float(SteeringVector(group, reference, ["b"]).coordinates("b", group.means["b"], 0.5)) > 0.1


def test_the_largest_shift_falls_with_the_schedule() -> None:
    fingerprint, levels = ModelFingerprint("Net", torch.zeros(0)), torch.tensor([0.9, 0.7, 0.5, 0.3])
    features = torch.ones(4, 3, WIDTH)
    reference = make_centroid({"b": features}, "plain", levels, fingerprint, "SD3")
    group = make_centroid({"b": features + torch.eye(WIDTH)[0]}, "group", levels, fingerprint, "SD3")
    sizes = torch.stack([SteeringVector(group, reference, ["b"]).shift("b", sigma).norm() for sigma in levels.tolist()])
    assert torch.allclose(sizes / sizes[0], (torch.tensor([7.0, 5.0, 3.0, 1.0]) / 7) ** 1.5)


def test_the_place_is_read_once_a_pass_before_anything_is_shifted() -> None:
    network = network_of(Alone)
    group, reference = centroid(network, shift=1.0), centroid(network, "plain")
    guidance = FeatureGuidance(FeatureSettings(strength=0.5), weights(network), group, reference)
    guidance.open_pass(1.0, [slice(0, 3)])
    start, end = (c.means["blocks.0"][0].expand(3, -1) for c in (reference, group))
    assert guidance._shift("blocks.0", start, 1.0, 0).any()
    assert guidance._shift("blocks.1", group.means["blocks.1"][0].expand(3, -1), 1.0, 0).any()
    guidance.open_pass(1.0, [slice(0, 3)])
    assert not guidance._shift("blocks.0", end, 1.0, 0).any()
    assert not guidance._shift("blocks.1", start, 1.0, 0).any()


def test_the_smaller_the_strength_the_smaller_the_shift() -> None:
    """Down to nothing at 0, also for images that lie before the reference."""
    network, layer = network_of(Alone), "blocks.0"
    group, reference = centroid(network, shift=1.0), centroid(network, "plain")
    means = reference.means[layer][0] - (group.means[layer][0] - reference.means[layer][0])
    sizes = [
        float(
            FeatureGuidance(FeatureSettings(strength=strength), {layer: 1.0}, group, reference)
            ._shift(layer, means[None], 1.0, 0)
            .norm()
        )
        for strength in (1.0, 0.1, 0.001)
    ]
    assert sizes[0] == pytest.approx(10 * sizes[1]) == pytest.approx(1000 * sizes[2])


def test_a_centroid_that_is_the_reference_leads_nowhere() -> None:
    network = network_of(Alone)
    same = centroid(network)
    guidance = FeatureGuidance(FeatureSettings(), weights(network), same, same)
    shift = guidance._shift("blocks.0", torch.randn(3, WIDTH), 1.0, 0)
    assert not shift.any()


def test_channels_of_enormous_mean_do_not_blow_up_the_shift() -> None:
    network, layer = network_of(Alone), "blocks.0"
    group, reference = centroid(network, shift=1.0), centroid(network, "plain")
    offset = torch.zeros(WIDTH)
    offset[0] = 1e4
    moved = [replace(c, means={name: mean + offset for name, mean in c.means.items()}) for c in (group, reference)]
    way = group.means[layer] - reference.means[layer]
    assert SteeringVector(*moved, [layer]).shift(layer, 1.0).norm() <= 1.01 * SHIFT * MAX_NORM * way.norm(dim=1).max()


def test_without_a_reference_no_strength_leads_past_the_centroid() -> None:
    network, means = network_of(Alone), torch.randn(3, WIDTH)
    group = centroid(network, shift=1.0)
    guidance = FeatureGuidance(FeatureSettings(strength=24.0), {"blocks.0": 1.0}, group)
    arrived = means + guidance._shift("blocks.0", means, 1.0, 0)
    assert torch.allclose(arrived, group.means["blocks.0"][0].expand(3, -1), atol=1e-6)


def test_the_strength_is_divided_among_the_layers() -> None:
    """Shifts add up along the network: a deeper one must not be shifted more."""
    network, means = network_of(Alone), torch.randn(3, WIDTH)
    group = centroid(network, shift=1.0)
    for mode in ("towards", "away"):
        one, two = (
            FeatureGuidance(FeatureSettings(mode, 0.6), dict.fromkeys(names, 1.0), group)  # type: ignore[arg-type]
            for names in (["blocks.0"], ["blocks.0", "blocks.1"])
        )
        assert torch.allclose(2 * two._shift("blocks.0", means, 1.0, 0), one._shift("blocks.0", means, 1.0, 0))
    spread = FeatureGuidance(FeatureSettings("spread", 3.0), {"blocks.0": 1.0, "blocks.1": 1.0})
    once = means + spread._shift("blocks.0", means, 1.0, 0)
    twice = once + spread._shift("blocks.1", once, 1.0, 0)
    assert torch.allclose(torch.pdist(twice), 4 * torch.pdist(means), atol=1e-4)


def test_spreading_moves_the_features_of_a_batch_apart() -> None:
    network = network_of(Alone)
    guidance = FeatureGuidance(FeatureSettings("spread", 1.0), {"blocks.0": 1.0})
    guidance.begin(run_of())
    layer = find_layers(network)[0]
    before = layer.module(inputs()[0])
    guidance.open_pass(1.0, [slice(0, 3)])
    after = guidance.visit(layer, before)
    assert (torch.pdist(channel_means(after, -1)) > 1.2 * torch.pdist(channel_means(before, -1))).all()
    assert torch.allclose(after.flatten(1).norm(dim=1), before.flatten(1).norm(dim=1), rtol=1e-5)


def test_copies_of_a_batch_are_spread_each_for_itself() -> None:
    """Two positive prompts in one evaluation: their images are not to be pushed from one another."""
    network = network_of(Alone)
    layer = find_layers(network)[0]
    guidance = FeatureGuidance(FeatureSettings("spread", 1.0), {"blocks.0": 1.0})
    guidance.begin(run_of(2))
    one = layer.module(inputs(2)[0])
    guidance.open_pass(1.0, [slice(0, 2)])
    alone = guidance.visit(layer, one)
    guidance.open_pass(1.0, [slice(0, 2), slice(2, 4)])
    both = guidance.visit(layer, torch.cat([one, one + 5]))
    assert torch.allclose(both[:2], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "sigma", "rows"),
    [
        (FeatureSettings("spread", 0.0), 1.0, [slice(0, 3)]),
        (FeatureSettings("spread", 1.0, SigmaInterval(low=0.5)), 0.2, [slice(0, 3)]),
        (FeatureSettings("spread", 1.0), 1.0, []),
        (FeatureSettings("spread", 1.0), 1.0, [slice(0, 1)]),
    ],
    ids=["strength 0", "outside the interval", "no prompt", "batch of one"],
)
def test_nothing_to_do_leaves_the_very_tensor(settings: FeatureSettings, sigma: float, rows: list[slice]) -> None:
    network = network_of(Alone)
    layer = find_layers(network)[0]
    guidance = FeatureGuidance(settings, {"blocks.0": 1.0})
    guidance.begin(run_of())
    guidance.open_pass(sigma, rows)
    image = inputs()[0]
    assert guidance.visit(layer, image) is image


def test_no_pass_is_open_before_and_after_one() -> None:
    guidance, image = FeatureGuidance(FeatureSettings("spread", 1.0), {"blocks.0": 1.0}), inputs()[0]
    layer = find_layers(network_of(Alone))[0]
    guidance.begin(run_of())
    assert guidance.visit(layer, image) is image
    guidance.open_pass(1.0, [slice(0, 3)])
    assert guidance.visit(layer, image) is not image
    guidance.close_pass()
    assert guidance.visit(layer, image) is image


def test_hooks_are_gone_after_an_error() -> None:
    network = network_of(Joined)
    layers = find_layers(network)

    def fail(layer: Any, image: Tensor) -> Tensor:
        raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"), LayerHooks(layers, ["single_blocks.1"], fail):
        network(*inputs())
    assert not any(module._forward_hooks for module in network.modules())
    network(*inputs())


def test_the_trace_says_how_much_was_shifted() -> None:
    network = network_of(Beside)
    guidance = FeatureGuidance(FeatureSettings(strength=0.5), weights(network), centroid(network, shift=1.0))
    guidance.begin(run_of())
    steered(network, guidance, [slice(0, 3)])
    estimate, step = step_at(1.0)
    assert guidance(estimate, step) is estimate
    assert guidance.finish(estimate) is estimate
    (record,) = guidance.trace.steps
    assert [sample.sample for sample in record.samples] == [0, 1, 2]
    assert all(0 < sample.correction < 2 for sample in record.samples)
    assert "Shifted the channel means of 3 images in 1 evaluations" in guidance.trace.summary()
    assert guidance.trace.finished


def test_layers_that_never_run_are_told() -> None:
    guidance = FeatureGuidance(FeatureSettings("spread", 1.0), {"blocks.0": 1.0})
    guidance.begin(run_of())
    estimate, step = step_at(1.0)
    guidance(estimate, step)
    assert guidance.finish(estimate) is estimate
    assert "none of its layers ran" in guidance.trace.summary()


def test_one_image_that_is_lost_does_not_take_the_batch_along() -> None:
    """Without a reference the batch is led apart from its own mean: that of the finite images."""
    whole, lost = (FeatureGuidance(FeatureSettings("spread", 1.0), {"blocks.0": 1.0}) for _ in range(2))
    network = network_of(Alone)
    good = torch.randn(2, 6, WIDTH, generator=torch.Generator().manual_seed(5))
    bad = torch.cat([torch.full_like(good[:1], torch.nan), good])
    for guidance, batch in ((whole, good), (lost, bad)):
        guidance.begin(run_of(len(batch)))
    layer = find_layers(network)[0]
    whole.open_pass(1.0, [slice(0, 2)])
    lost.open_pass(1.0, [slice(0, 3)])
    expected = whole.visit(layer, good)
    assert not torch.allclose(expected, good)
    assert torch.allclose(lost.visit(layer, bad)[1:], expected)


def test_an_inactive_interval_is_no_error() -> None:
    guidance = FeatureGuidance(FeatureSettings("spread", 1.0, SigmaInterval(low=0.9)), {"blocks.0": 1.0})
    guidance.begin(run_of())
    estimate, step = step_at(0.5)
    guidance(estimate, step)
    guidance.finish(estimate)
    assert "Nothing was shifted: the model was not evaluated while guidance was active." in guidance.trace.summary()


def test_names_and_ranges_of_layers() -> None:
    layers = find_layers(network_of(Joined))
    assert select_layers(layers, "all") == dict.fromkeys([layer.name for layer in layers], 1.0)
    assert select_layers(layers, "single_blocks.0-1=0.5, double_blocks.1") == {
        "double_blocks.1": 1.0,
        "single_blocks.0": 0.5,
        "single_blocks.1": 0.5,
    }
    assert set(select_layers(layers, "middle")) == {"double_blocks.1", "single_blocks.0"}
    assert list(select_layers(find_layers(network_of(Unet)), "middle")) == ["middle_block"]
    assert summarise_layers([layer.name for layer in layers]) == "double_blocks.0-1, single_blocks.0-1"


@pytest.mark.parametrize("text", ["blocks.7", "", "double_blocks.0-5", "double_blocks.1-0", "nonsense"])
def test_layers_that_do_not_exist(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no layer .* It has: double_blocks.0-1, single_blocks.0-1"):
        select_layers(find_layers(network_of(Joined)), text)


def test_a_weight_that_is_no_number() -> None:
    with pytest.raises(ValueError, match="is not a number"):
        select_layers(find_layers(network_of(Alone)), "blocks.0 = much")


def test_networks_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="no blocks that can be read"):
        find_layers(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="is compiled"):
        check_readable(nn.Sequential(torch.compile(nn.Linear(2, 2))))
    compiled = nn.Linear(2, 2)
    compiled.compile()
    with pytest.raises(ValueError, match="is compiled"):
        check_readable(nn.Sequential(compiled))
    with pytest.raises(ValueError, match="offloaded"):
        check_readable(nn.Linear(2, 2, device="meta"))


def test_centroids_that_do_not_fit() -> None:
    network = network_of(Alone)
    group = centroid(network)
    with pytest.raises(ValueError, match="needs a centroid"):
        FeatureGuidance(FeatureSettings(), weights(network))
    with pytest.raises(ValueError, match=r"does not hold the layer blocks\.9"):
        FeatureGuidance(FeatureSettings(), {"blocks.9": 1.0}, group)
    with pytest.raises(OtherModelError, match="read from another model"):
        FeatureGuidance(FeatureSettings(), weights(network), group, centroid(network_of(Alone, seed=1), "other"))
    with pytest.raises(OtherModelError, match="SD3 latents, and this model's are SD15"):
        FeatureGuidance(FeatureSettings(), weights(network), group).begin(run_of(latent_format="SD15"))


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_a_strength_out_of_range(strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be a number of at least 0"):
        FeatureSettings(strength=strength)
    with pytest.raises(ValueError, match="mode must be one of"):
        FeatureSettings(mode="sideways")  # type: ignore[arg-type]


def test_a_reader_averages_draws_and_keeps_groups_in_order() -> None:
    network = network_of(Alone)
    layers, reader = find_layers(network), ActivationReader()
    x, text = inputs(4)
    noises = [torch.zeros(2, 8, WIDTH), torch.ones(2, 8, WIDTH)]
    with LayerHooks(layers, ["blocks.0"], reader.visit):
        for group, part in enumerate((x[:2], x[2:])):
            for noise in noises:
                reader.expect(0, group, 2)
                network(part + noise, text[:2])
    features = reader.activation_means()["blocks.0"]
    expected = torch.stack([network.blocks[0](x), network.blocks[0](x + 1)]).mean(0).mean(1)
    assert features.shape == (1, 4, WIDTH)
    assert torch.allclose(features[0], expected, atol=1e-6)


def test_every_image_is_seen_through_the_same_noise_and_its_opposite() -> None:
    noises = common_noises((4, 3, 3), 5, 7)
    assert [tuple(noise.shape) for noise in noises] == [(1, 4, 3, 3)] * 5
    assert not (noises[0] + noises[1]).any()
    assert not (noises[2] + noises[3]).any()
    assert all(torch.equal(one, two) for one, two in zip(noises, common_noises((4, 3, 3), 6, 7), strict=False))


def test_a_centroid_knows_in_what_its_images_differ() -> None:
    """The rows' second moments are the covariance of the features, averaged over noise levels."""
    features = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(3))
    network = network_of(Alone)
    fingerprint = network_fingerprint(network, find_layers(network))
    made = make_centroid({"blocks.0": features}, "a", torch.tensor([1.0, 0.5]), fingerprint, "SD3")
    rows = made.variation("blocks.0")
    assert rows.shape == (4, WIDTH)
    assert torch.allclose(rows.T @ rows, features.mean(0).T.cov(), atol=1e-5)
    alone = make_centroid({"blocks.0": features[:, :1]}, "a", torch.tensor([1.0, 0.5]), fingerprint, "SD3")
    assert alone.variation("blocks.0").shape == (0, WIDTH)


def test_noise_of_the_images_own_is_kept_apart_and_measured() -> None:
    network = network_of(Alone)
    layers, reader = find_layers(network), ActivationReader()
    x, text = inputs(3)
    with LayerHooks(layers, ["blocks.0"], reader.visit):
        for own_noise in (False, True):
            reader.expect(0, 0, 3, own_noise=own_noise)
            network(x + own_noise, text)
    features, noisy = (reader.activation_means(own_noise=own_noise)["blocks.0"] for own_noise in (False, True))
    assert torch.allclose(features[0], network.blocks[0](x).mean(1), atol=1e-6)
    assert torch.allclose(noisy[0], network.blocks[0](x + 1).mean(1), atol=1e-6)


def test_every_group_and_level_has_noise_of_its_own() -> None:
    drawn = [noise for group in range(2) for noise in own_noises((3, 4, 2, 2), 2, 7, group)]
    drawn += common_noises((4, 2, 2), 1, 7)
    flat = torch.cat([noise.flatten(1) for noise in drawn])
    assert flat.shape == (13, 16)
    assert not (flat[:, None] == flat[None]).all(2).fill_diagonal_(False).any()
    again = list(own_noises((3, 4, 2, 2), 2, 7, 1))
    assert torch.equal(again[1], drawn[3])


def test_a_reader_that_saw_nothing() -> None:
    with pytest.raises(ValueError, match="None of the chosen layers ran"):
        ActivationReader().activation_means()


def test_a_model_is_known_again_in_half_precision_and_after_fine_tuning() -> None:
    network = network_of(Alone)
    layers = find_layers(network)
    own = network_fingerprint(network, layers)
    assert own.matches(network_fingerprint(network_of(Alone).half(), layers))
    tuned = network_of(Alone)
    for parameter in tuned.parameters():
        parameter += 0.05 * parameter.std() * torch.randn_like(parameter)
    assert own.matches(network_fingerprint(tuned, layers))
    assert not own.matches(network_fingerprint(network_of(Alone, seed=1), layers))
