"""What every feature space promises: unit vectors of a stated length, any image size, sentences for bad input."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.embedded.reals import RealImages
from diversity_guidance.features.colour_layout import ColourLayout
from diversity_guidance.features.content.network import ContentNetwork
from diversity_guidance.features.encoder import Encoder
from diversity_guidance.features.latent_preview import LatentPreview
from diversity_guidance.features.named import image_space
from diversity_guidance.features.pooled_latents import PooledLatents
from diversity_guidance.features.random_network import RandomNetwork
from diversity_guidance.features.space import FeatureSpace
from torch.nn.functional import interpolate


def channel_means(images: torch.Tensor) -> torch.Tensor:
    return images.mean((2, 3)) - 0.5


IMAGE_SPACES = [
    RandomNetwork(),
    ColourLayout(),
    ContentNetwork(),
    Encoder(channel_means, "means", 3, differentiable=True),
]
LATENT_SPACES = [
    PooledLatents("SD3", 16),
    LatentPreview("SD3", torch.linspace(-1, 1, 48).reshape(16, 3), None, ColourLayout(4)),
]


def images(count: int, height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def latents(count: int) -> torch.Tensor:
    return torch.randn(count, 16, 12, 8, generator=torch.Generator().manual_seed(2))


def examples() -> list[tuple[FeatureSpace, torch.Tensor]]:
    return [(space, images(4)) for space in IMAGE_SPACES] + [(space, latents(4)) for space in LATENT_SPACES]


@pytest.mark.parametrize(("space", "items"), examples(), ids=lambda value: getattr(value, "tag", ""))
def test_vectors_are_unit_float32_of_the_stated_dimension(space: FeatureSpace, items: torch.Tensor) -> None:
    assert isinstance(space, FeatureSpace)
    vectors = space(items)
    assert vectors.shape == (4, space.dimension)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert 0 < space.duplicate_distance < 2


@pytest.mark.parametrize(("space", "items"), examples(), ids=lambda value: getattr(value, "tag", ""))
def test_each_item_is_measured_by_itself(space: FeatureSpace, items: torch.Tensor) -> None:
    torch.testing.assert_close(space(items)[2:3], space(items[2:3]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(space(items.double()), space(items), atol=1e-6, rtol=1e-5)
    assert space(items[:0]).shape == (0, space.dimension) if items.shape[1] == 3 else True


@pytest.mark.parametrize(("space", "items"), examples(), ids=lambda value: getattr(value, "tag", ""))
def test_gradients_flow_where_promised(space: FeatureSpace, items: torch.Tensor) -> None:
    assert space.differentiable
    items = items.clone().requires_grad_()
    space(items)[:, 0].sum().backward()
    assert items.grad is not None
    assert torch.isfinite(items.grad).all() and items.grad.any()


@pytest.mark.parametrize(("space", "items"), examples(), ids=lambda value: getattr(value, "tag", ""))
def test_not_finite_items_are_named(space: FeatureSpace, items: torch.Tensor) -> None:
    items = items.clone()
    items[1, 0, 0, 0] = torch.nan
    items[3, 0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"\[1, 3\]"):
        space(items)


@pytest.mark.parametrize(("space", "items"), examples(), ids=lambda value: getattr(value, "tag", ""))
def test_other_shapes_are_refused(space: FeatureSpace, items: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="Expected"):
        space(items[0])
    with pytest.raises(ValueError, match="Expected"):
        space(items[:, :2])


@pytest.mark.parametrize("space", IMAGE_SPACES, ids=lambda space: space.tag)
def test_constant_and_grey_and_transparent_images_are_defined(space: FeatureSpace) -> None:
    for level in (0.0, 0.3, 0.5, 1.0):
        assert torch.isfinite(space(torch.full((2, 3, 9, 9), level))).all()
    grey = images(2)[:, :1]
    torch.testing.assert_close(space(grey), space(grey.expand(-1, 3, -1, -1)))
    colour = images(2)
    torch.testing.assert_close(space(torch.cat([colour, colour[:, :1]], 1)), space(colour))


@pytest.mark.parametrize("space", IMAGE_SPACES, ids=lambda space: space.tag)
def test_the_same_image_at_another_size_stays_close(space: FeatureSpace) -> None:
    coarse = images(6, 8, 8)
    small = interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)
    large = interpolate(coarse, (192, 160), mode="bicubic").clamp(0, 1)
    assert (space(small) - space(large)).norm(dim=1).max() < space.duplicate_distance


def test_random_network_is_the_same_everywhere_and_another_seed_another_space() -> None:
    gradient = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    vector = RandomNetwork()(gradient)[0]
    # Written down once: a change of weights or layers needs a new version in the tag.
    expected = torch.tensor(EXPECTED_RANDOM_NETWORK)
    torch.testing.assert_close(vector[:4], expected, atol=1e-5, rtol=1e-4)
    other = RandomNetwork(seed=1)
    assert other.tag != RandomNetwork().tag
    assert (other(gradient)[0] - vector).norm() > 0.5


EXPECTED_RANDOM_NETWORK = [0.046731, 0.016423, 0.046731, 0.016423]


def test_colour_layout_orders_images_by_where_the_colours_are() -> None:
    space = ColourLayout()
    red_left = torch.zeros(1, 3, 32, 32)
    red_left[:, 0, :, :16] = 1
    shifted = red_left.roll(1, 3)
    mirrored = red_left.flip(3)
    base, near, far = space(torch.cat([red_left, shifted, mirrored]))
    assert (base - near).norm() < (base - far).norm() / 2


def test_mid_grey_has_no_direction() -> None:
    assert not ColourLayout()(torch.full((1, 3, 8, 8), 0.5)).any()


def test_pooled_latents_compare_sizes_and_keep_frames_apart() -> None:
    space = PooledLatents("SD3", 16)
    large = interpolate(latents(3), scale_factor=2, mode="nearest")
    torch.testing.assert_close(space(large), space(latents(3)))
    video = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    assert not torch.allclose(space(video), space(video.flip(2)))
    assert PooledLatents("SD3", 16).tag != PooledLatents("Flux", 16).tag


def test_latent_preview_draws_the_linear_map() -> None:
    factors = torch.zeros(4, 3)
    factors[0, 0] = 0.5
    space = LatentPreview("SD15", factors, torch.tensor([0.0, -1.0, 1.0]), ColourLayout())
    preview = space.preview(torch.full((1, 4, 2, 2), 1.0))
    torch.testing.assert_close(preview[0, :, 0, 0], torch.tensor([0.75, 0.0, 1.0]))
    assert "SD15" in space.tag
    with pytest.raises(ValueError, match="factors of shape"):
        LatentPreview("SD15", factors.T, None, ColourLayout())


def test_an_encoder_that_returns_something_else_is_named() -> None:
    space = Encoder(lambda items: items.mean((2, 3)), "host-clip", 768)
    assert not space.differentiable
    with pytest.raises(ValueError, match="host-clip returned features of shape"):
        space(images(2))


def test_spaces_have_names() -> None:
    assert image_space("random").tag == RandomNetwork().tag
    assert image_space("layout").tag == ColourLayout().tag
    assert image_space("content").tag == ContentNetwork.tag
    with pytest.raises(ValueError, match="choose one of random, layout, content or clip:FOLDER"):
        image_space("inception")
    with pytest.raises(ValueError, match="holds no open_clip model"):
        image_space("clip:/nowhere")


@pytest.mark.parametrize("build", [lambda: ColourLayout(0), lambda: PooledLatents("SD3", 0)])
def test_empty_grids_are_refused(build: object) -> None:
    with pytest.raises(ValueError, match="at least one"):
        build()  # type: ignore[operator]


def test_the_content_network_finds_what_another_vendor_drew() -> None:
    """Of 120 real emoji, the share whose nearest one by another vendor shows the same concept."""
    reals = RealImages.load()
    concepts = {label.concept for label in reals.labels if label.skin == "" and label.gender == ""}
    chosen = sorted(concepts)[:60]
    rows = [row for row, label in enumerate(reals.labels) if label.concept in chosen][:120]
    pixels, labels = reals.pixels[rows].float() / 255, [reals.labels[row] for row in rows]

    def found(space: FeatureSpace) -> float:
        vectors = space(pixels)
        similar = vectors @ vectors.T
        hits = []
        for row, label in enumerate(labels):
            others = [other for other, each in enumerate(labels) if each.vendor != label.vendor]
            if any(labels[other].concept == label.concept for other in others):
                nearest = max(others, key=lambda other: float(similar[row, other]))
                hits.append(labels[nearest].concept == label.concept)
        return sum(hits) / len(hits)

    content, layout = found(ContentNetwork()), found(ColourLayout())
    assert content > 0.5
    assert content > layout > found(RandomNetwork())
