"""Faces: the networks say what the package that their weights come from says, and a face is found where one is."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from diversity_guidance.features.faces import weights
from diversity_guidance.features.faces.alignment import square, upright
from diversity_guidance.features.faces.detector import FaceDetector
from diversity_guidance.features.faces.finder import MIN_SIDE, FaceFinder
from diversity_guidance.features.faces.landmarks import FaceLandmarks
from diversity_guidance.features.faces.recognition import FaceRecognition
from diversity_guidance.features.faces.weights import ASSETS
from diversity_guidance.metrics.faces.groups import LIMIT
from support.faces import photograph, without_face
from torch import Tensor
from torch.nn.functional import interpolate

DIGESTS = {
    "detector": "4280e9a8e601edd5b98574f525e176411fd14491b0c455a9b98dd807b922c90b",
    "landmarks": "9ba450a5027212ba6324bcf98cc802091c83b9c3e398d9d2ac3ed99747359028",
    "recognition": "b963e5d28cbf74e7d44595a419cd0c9c04436475e70ddd8eb7fcc8b1a804f12c",
}


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def ramps(side: int, steps: int) -> Tensor:
    """Red rises to the right, green downwards, blue is their product; (1, 3, side, side)."""
    ramp = (torch.arange(side) / (steps - 1)).expand(side, side)
    return torch.stack([ramp, ramp.T, ramp * ramp.T])[None]


def sized(image: Tensor, height: int, width: int) -> Tensor:
    return interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]


@pytest.mark.parametrize("network", DIGESTS)
def test_the_weights_are_those_that_were_measured(network: str) -> None:
    assert hashlib.sha256((ASSETS / f"{network}.safetensors").read_bytes()).hexdigest() == DIGESTS[network]


def test_they_stay_small_and_are_named() -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 7_000_000
    notice = (ASSETS / "NOTICE").read_text(encoding="utf-8")
    for said in ("Davis E. King", "CC0 1.0", "Vincent Mühler", "Vladimir Mandic", "Permission is hereby granted"):
        assert said in notice


def test_weights_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(ValueError, match=r"detector\.safetensors is missing"):
        FaceFinder()


# The numbers below are those of face-api 1.7.15 itself, run by TensorFlow.js on the same pixels.


def test_the_detector_is_that_of_the_package() -> None:
    maps = FaceDetector().maps(sized(photograph(), 160, 160)[None])
    assert maps.shape == (1, 25, 5, 5)
    theirs = [1.4726686, -21.1714516, -6.0455108, -17.8967056, -22.7216053]
    torch.testing.assert_close(maps[0, 4::5, 2, 2], torch.tensor(theirs), atol=1e-3, rtol=0)


def test_the_landmarks_are_those_of_the_package() -> None:
    theirs = [[0.5908044, 0.3854480], [0.7506678, 0.3388361], [0.7404682, 0.5760287]]
    torch.testing.assert_close(FaceLandmarks()(ramps(112, 150))[0], torch.tensor(theirs), atol=1e-4, rtol=0)


def test_the_recognition_is_that_of_the_package() -> None:
    """But for a half of a hundredth in the scale of the input, where dlib's own is used, and for half precision."""
    theirs = [-0.0497020, 0.1231864, 0.0559029, 0.0097647, -0.0525853, -0.0393379]
    vector = FaceRecognition()(ramps(150, 150))
    assert vector.shape == (1, 128)
    torch.testing.assert_close(vector[0, :6], torch.tensor(theirs), atol=3e-4, rtol=0)


def test_a_face_is_found_where_it_is(finder: FaceFinder) -> None:
    found = finder(photograph())
    assert found.vectors.shape == (1, 128) and not found.too_small
    torch.testing.assert_close(found.boxes, torch.tensor([[70.0, 76.0, 182.0, 190.0]]), atol=10, rtol=0)
    wide = finder(torch.nn.functional.pad(photograph(), (300, 40, 0, 0)))
    torch.testing.assert_close(wide.boxes, found.boxes + torch.tensor([300.0, 0, 300, 0]), atol=30, rtol=0)


@pytest.mark.parametrize(
    "image",
    [
        *(without_face(seed) for seed in range(4)),
        torch.full((3, 64, 64), 0.5),
        torch.zeros(3, 1, 1),
        torch.rand(3, 1000, 12, generator=torch.Generator().manual_seed(0)),
    ],
    ids=lambda image: "x".join(map(str, image.shape)),
)
def test_none_is_found_where_there_is_none(finder: FaceFinder, image: Tensor) -> None:
    found = finder(image)
    assert found.vectors.shape == (0, 128) and found.boxes.shape == (0, 4) and not found.too_small


def turned(image: Tensor, degrees: float) -> Tensor:
    return square(image, torch.tensor([128.0, 128.0]), 256.0, 256, math.radians(degrees))


CHANGES = {
    "mirrored": lambda image: image.flip(2),
    "darker": lambda image: image * 0.6,
    "half size": lambda image: sized(image, 128, 128),
    "large": lambda image: sized(image, 1100, 1100),
    "cropped": lambda image: image[:, :210, 20:230],
    "grey": lambda image: image.mean(0, keepdim=True),
    "turned": lambda image: turned(image, 20),
    "turned back": lambda image: turned(image, -25),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_photograph_shows_the_same_face(finder: FaceFinder, change: str) -> None:
    first, second = finder(photograph()).vectors, finder(CHANGES[change](photograph())).vectors
    assert len(second) == 1
    assert float((first - second).norm()) < 0.7 * LIMIT


def test_a_face_that_is_too_small_is_said_to_be(finder: FaceFinder) -> None:
    found = finder(sized(photograph(), 90, 90))
    assert found.too_small and len(found.vectors) == 0
    assert 90 * 115 / 256 < MIN_SIDE < 128 * 110 / 256


def test_the_largest_face_comes_first_and_those_in_the_background_do_not_count(finder: FaceFinder) -> None:
    image = torch.full((3, 512, 900), 0.5)
    image[:, :256, :256] = photograph()
    image[:, :, 388:] = sized(photograph(), 512, 512)
    found = finder(image)
    assert len(found.boxes) == 2
    assert found.boxes[0, 0] > 388 > 256 > found.boxes[1, 2]
    image = torch.full((3, 300, 440), 0.5)
    image[:, :, :300], image[:, :120, 310:430] = sized(photograph(), 300, 300), sized(photograph(), 120, 120)
    assert len(finder(image).boxes) == 1
    image[:, :, :300] = 0.5
    assert len(finder(image).boxes) == 1, "the smaller one is found where it is alone"


def test_a_square_of_an_image_is_that_square() -> None:
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    cut = square(image, torch.tensor([30.0, 20.0]), 10.0, 10)
    torch.testing.assert_close(cut, image[:, 15:25, 25:35], atol=1e-5, rtol=0)
    beyond = square(image, torch.tensor([0.0, 0.0]), 10.0, 10)
    torch.testing.assert_close(beyond[:, 5:, 5:], image[:, :5, :5], atol=1e-5, rtol=0)
    assert not beyond[:, :4].any() and not square(image, torch.tensor([500.0, -90.0]), 30.0, 10).any()
    quarter = square(image, torch.tensor([25.0, 20.0]), 20.0, 20, math.pi / 2)
    torch.testing.assert_close(quarter, image[:, 10:30, 15:35].rot90(1, (1, 2)), atol=1e-4, rtol=0)


def test_eyes_and_mouth_come_where_they_are_expected() -> None:
    """Whatever the size of a face and the angle at which it is held."""
    y, x = torch.meshgrid(torch.arange(200.0), torch.arange(200.0), indexing="ij")
    points = torch.tensor([[80.0, 70.0], [120.0, 90.0], [85.0, 120.0]])
    spots = [torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in (points - 0.5).tolist()]
    left, right, mouth = (divmod(int(channel.argmax()), 150) for channel in upright(torch.stack(spots), points, 150))
    assert abs(left[0] - right[0]) <= 1, "the eyes are level"
    assert abs((left[1] + right[1] + mouth[1]) / 3 - 75) <= 1
    assert abs((left[0] + right[0] + mouth[0]) / 3 - 0.43 * 150) <= 1
    eyes = [math.dist(eye, mouth) for eye in (left, right)]
    assert sum(eyes) / 2 == pytest.approx(0.45 * 150, abs=1.5)
