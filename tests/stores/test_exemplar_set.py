"""Exemplars from images and folders, and what is measured on them."""

from __future__ import annotations

import pickle

import pytest
import torch
from diversity_guidance.stores.exemplar_set import (
    ExemplarError,
    ExemplarSet,
)
from torch import Tensor


def test_images_keep_their_colours() -> None:
    images = torch.rand(3, 3, 5, 7)
    exemplars = ExemplarSet.from_images(images)
    assert len(exemplars) == 3
    assert torch.allclose(torch.stack(exemplars.images) / 255, images, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(0, 3, 4, 4), torch.zeros(2, 4, 4, 4), torch.zeros(3, 4, 4), torch.full((1, 3, 4, 4), torch.nan)],
)
def test_bad_images(images: Tensor) -> None:
    with pytest.raises(ExemplarError):
        ExemplarSet.from_images(images)


def test_features_are_measured_once_a_space() -> None:
    exemplars = ExemplarSet.from_images(torch.rand(3, 3, 4, 4))
    calls: list[int] = []

    def measure(picture: Tensor) -> Tensor:
        calls.append(1)
        return picture.flatten(1)

    first = exemplars.features("a", measure)
    assert first.shape == (3, 48)
    assert exemplars.features("a", measure) is first
    exemplars.features("b", measure)
    assert len(calls) == 6


def test_latent_features_need_latents() -> None:
    exemplars = ExemplarSet.from_images(torch.rand(2, 3, 4, 4))
    with pytest.raises(ExemplarError, match="images only"):
        exemplars.latent_features("a", lambda latent: latent.flatten(1))
    with_latents = exemplars.with_latents([torch.ones(4, 2, 2), torch.zeros(4, 2, 3)])
    assert with_latents.latent_features("a", lambda latent: latent.flatten(1)[:, :4]).tolist() == [[1] * 4, [0] * 4]
    with pytest.raises(ExemplarError, match="1 latents for 2 images"):
        exemplars.with_latents([torch.ones(4, 2, 2)])


def test_the_digest_is_that_of_the_content() -> None:
    images = torch.rand(2, 3, 4, 4)
    one, same = ExemplarSet.from_images(images), ExemplarSet.from_images(images)
    assert one.digest == same.digest
    assert one.digest != ExemplarSet.from_images(images.flip(0)).digest
    assert one.digest != one.with_latents([torch.ones(4, 2, 2)] * 2).digest
    assert pickle.loads(pickle.dumps(one)).digest == one.digest


def test_its_memory_is_told() -> None:
    exemplars = ExemplarSet.from_images(torch.rand(2, 3, 4, 4))
    before = exemplars.get_ram_usage()
    exemplars.features("a", lambda picture: picture.flatten(1))
    assert (before, exemplars.get_ram_usage()) == (96, 96 + 2 * 48 * 4)
