"""The judge: modes from the classifier within what the prompt leaves open, quality from the nearest real picture."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.embedded.judge import Judge
from diversity_guidance.embedded.judge_network import JudgeNetwork
from diversity_guidance.embedded.reals import TILE, Mode, RealImages
from diversity_guidance.embedded.training.judge import classes_of, targets_of
from torch import Tensor

from .test_reals import LABELS


class KnowingNetwork(JudgeNetwork):
    """Reads the number of a label from the first pixel, and is sure of its answers."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        rows = (images[:, 0, 0, 0] * 255).round().long().tolist()
        targets = targets_of(self, [LABELS[row] for row in rows])
        return {
            head: 20.0 * torch.nn.functional.one_hot(torch.tensor(numbers), len(self.classes[head])).float()
            for head, numbers in targets.items()
        }


@pytest.fixture
def judge() -> Judge:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(LABELS), 3, TILE, TILE), generator=generator).byte()
    pixels[:, 0, 0, 0] = torch.arange(len(LABELS))
    return Judge(KnowingNetwork(classes_of(LABELS)), RealImages(pixels, LABELS))


def test_a_real_picture_is_judged_as_its_label_says(judge: Judge) -> None:
    for row, verdict in enumerate(judge.judge(judge.reals.images(torch.arange(8)), "running")):
        assert (verdict.concept, verdict.mode) == ("running", LABELS[row].mode)
        assert verdict.faithful
        assert verdict.nearest == verdict.nearest_overall == row
        assert verdict.nearest_mode == LABELS[row].mode
        assert verdict.rmse < 1e-3
        assert verdict.sharpness == pytest.approx(1)


def test_an_attribute_against_the_prompt_is_unfaithful_and_its_mode_stays_within_the_prompt(judge: Judge) -> None:
    (verdict,) = judge.judge(judge.reals.images(torch.tensor([4])), "man running google")
    assert not verdict.faithful
    assert verdict.mode == Mode("man", "default-skin", "google")
    assert LABELS[verdict.nearest].gender == "man"
    assert verdict.nearest_overall == 4


def test_a_blurred_picture_is_less_sharp(judge: Judge) -> None:
    image = judge.reals.images(torch.tensor([1]))
    blurred = torch.nn.functional.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)
    blurred[:, 0, 0, 0] = image[:, 0, 0, 0]
    assert judge.judge(blurred, "running")[0].sharpness < 0.5


def test_coverage_counts_modes_once_and_leaves_out_bad_pictures(judge: Judge) -> None:
    images = judge.reals.images(torch.tensor([0, 0, 3, 2, 9]))
    images[3, :, 1:] = 0.5  # says that it is mode 2, and is far from every real picture
    coverage = judge.coverage(judge.judge(images, "running man"), "running man")
    assert coverage.known == 4
    assert coverage.reached == 3, "the cat shows none of the prompt's modes"
    assert coverage.reached_well == coverage.reached_nearest == 2
    assert coverage.fidelity == pytest.approx(4 / 5)
    assert coverage.within_limit == pytest.approx(3 / 5)


def test_pictures_of_another_size_are_refused(judge: Judge) -> None:
    with pytest.raises(ValueError, match="resize"):
        judge.judge(torch.rand(1, 3, 32, 32), "running")


def test_nothing_has_no_coverage(judge: Judge) -> None:
    with pytest.raises(ValueError, match="at least one"):
        judge.coverage([], "running")


def test_the_distance_to_every_real_picture_is_exact(judge: Judge) -> None:
    images = torch.rand(3, 3, TILE, TILE)
    expected = (images[:, None] - judge.reals.images(torch.arange(len(LABELS)))).square().mean((2, 3, 4))
    torch.testing.assert_close(judge._squared_errors(images, chunk=4), expected, atol=1e-5, rtol=1e-4)
