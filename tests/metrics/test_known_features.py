"""Images that come again are encoded once, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from diversity_guidance.features import ColourLayout, RandomNetwork
from diversity_guidance.metrics import known_features as module
from diversity_guidance.metrics.batch import batch_features
from diversity_guidance.metrics.known_features import known_features
from torch import Tensor


class Counting(ColourLayout):
    """Counts the images that it encodes."""

    encoded = 0

    def __call__(self, items: Tensor) -> Tensor:
        """As the space does."""
        self.encoded += len(items)
        return super().__call__(items)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_known", OrderedDict())


def images(count: int) -> list[Tensor]:
    return list(torch.rand(count, 3, 16, 20, generator=torch.Generator().manual_seed(0)))


def test_an_image_that_comes_again_is_encoded_once_and_counted_twice() -> None:
    space, steps = Counting(), list[int]()
    with torch.inference_mode():
        given = images(4)
        first = known_features(given, space, lambda: steps.append(1))
    again = known_features([image.clone() for image in reversed(given)], space, lambda: steps.append(1))
    assert space.encoded == 4 and len(steps) == 8
    assert torch.equal(first.flip(0), again) and torch.equal(first, batch_features(given, ColourLayout()))


def test_other_pixels_another_shape_and_another_space_are_other_features() -> None:
    space = Counting()
    (image,) = images(1)
    brighter, turned = image.clone(), image.reshape(3, 20, 16)
    brighter[0, 0, 0] += 0.001
    for each in (image, brighter, turned):
        assert torch.equal(known_features([each], space, int)[0], batch_features([each], space)[0])
    assert known_features([image], RandomNetwork(), int).shape == (1, 512)


def test_what_was_used_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    space = Counting()
    first, second, third = images(3)
    known_features([first, second, first, third], space, int)
    assert space.encoded == 3
    known_features([first, third], space, int)
    assert space.encoded == 3
    known_features([second], space, int)
    assert space.encoded == 4
