"""The report as a whole: known sets, bad input, what it is turned into."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest
import torch
from diversity_guidance.kernels.vendi import vendi_score, vendi_score_features
from diversity_guidance.metrics.faces.same_face import same_face
from diversity_guidance.metrics.measures import subsample as sampling
from diversity_guidance.metrics.measures.vendi_scores import EQUAL, TRUNCATED, spectrum, vendi_measures
from diversity_guidance.metrics.report import DiversityReport, measure
from diversity_guidance.metrics.serialise import to_csv, to_json
from diversity_guidance.metrics.summary import LABELS, headline, table, value_text


def unit_rows(count: int, seed: int = 0, dimension: int = 12) -> torch.Tensor:
    found = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return found / found.norm(dim=1, keepdim=True)


def report(features: torch.Tensor, **options: object) -> DiversityReport:
    return measure(features, "toy", duplicate_distance=0.1, **options)  # type: ignore[arg-type]


def value(found: DiversityReport, name: str) -> float:
    number = found[name].value
    assert number is not None
    return number


@pytest.mark.parametrize("count", [5, 40])
def test_vendi_agrees_with_the_kernel_in_both_forms(count: int) -> None:
    features = unit_rows(count)
    *whole, _ = vendi_measures(features, "toy")
    for found in whole:
        assert found.value == pytest.approx(vendi_score_features(features, found.parameters["order"]), rel=1e-5)
        assert found.lower is not None and found.upper is not None
        assert 1 <= found.lower <= found.value <= found.upper <= min(features.shape)  # type: ignore[operator]
    assert float(spectrum(features).sum()) == pytest.approx(1)


def test_interval_covers_other_draws_of_the_same_source() -> None:
    scores = [vendi_measures(unit_rows(40, seed), "toy", [1.0])[0] for seed in range(40)]
    centre = sum(score.value or 0 for score in scores) / 40
    inside = sum((score.lower or 0) <= centre <= (score.upper or 0) for score in scores)
    assert inside >= 32


def test_four_unrelated_images_and_their_copies() -> None:
    features = torch.eye(8)[[0, 1, 2, 3, 0, 1, 0]]
    found = report(features)
    assert value(found, "vendi_inf") == pytest.approx(7 / 3)
    assert value(found, "different_images") == 4
    assert value(found, "near_duplicate_pairs") == found.near_pairs == 4
    assert found.duplicates.kept == (0, 1, 2, 3)
    assert value(found, "smallest_distance") == 0
    assert "3 of them repeat another one almost exactly: image 4 repeats image 0, image 5" in headline(found)
    assert "exactly: e repeats a, f repeats b, g repeats a." in headline(found, names="abcdefg")


def test_of_many_pairs_the_first_are_named() -> None:
    assert headline(report(torch.eye(2)[[0] * 9])).endswith("image 5 repeats image 0, and 3 more.")


def test_images_without_features_are_left_out_and_keep_the_others_numbers() -> None:
    features = torch.eye(6)[[0, 1, 1, 2]]
    broken = torch.cat([features[:1], torch.full((1, 6), math.nan), features[1:]])
    found = report(broken, groups=["a", "a", "b", "b", "b"])
    assert found.unmeasured == (1,)
    assert found.duplicates.kept == (0, 2, 4) and found.duplicates.rejected == (3,)
    assert found.groups[0].indices == (0,) and found.groups[1].indices == (2, 3, 4)
    assert (found.closest[0].first, found.closest[0].second) == (2, 3)
    assert "1 of 5 images could not be measured" in headline(found)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare_is_said(count: int) -> None:
    found = report(unit_rows(count), references=unit_rows(count), held_out=unit_rows(0))
    assert "nothing to compare" in headline(found)
    for name in ("mean_distance", "precision", "frechet_distance", "irs_infinity_adjusted"):
        assert found[name].value is None and found[name].note
    json.loads(to_json(found))
    assert table(found)


def test_constant_images_are_one_image() -> None:
    found = report(torch.zeros(5, 3), references=torch.zeros(9, 3))
    assert value(found, "vendi_1") == pytest.approx(1)
    assert value(found, "mean_distance") == 0
    assert value(found, "frechet_distance") == pytest.approx(0)
    mixed = report(torch.cat([torch.zeros(2, 3), torch.eye(3)]))
    assert value(mixed, "vendi_inf") == pytest.approx(2.5)


def test_a_reference_set_smaller_than_the_neighbourhood_is_said() -> None:
    found = report(unit_rows(20), references=unit_rows(4, 1))
    assert found["precision"].value is None
    assert "at least 6 images" in found["precision"].note
    assert found["frechet_distance"].value is not None
    assert found["irs_alpha"].value is not None


def test_real_images_cover_themselves() -> None:
    references = unit_rows(60)
    found = report(references, references=references, held_out=unit_rows(60, 1))
    assert [value(found, name) for name in ("precision", "recall", "coverage", "irs_alpha")] == [1, 1, 1, 1]
    assert found["precision"].lower is not None and found["precision"].lower < 1
    assert value(found, "frechet_distance") == pytest.approx(0, abs=1e-6)
    assert value(found, "irs_infinity_adjusted") > 1
    fewer = report(references, references=references, held_out=unit_rows(40, 1))
    assert fewer.adjusted is not None and fewer.adjusted.draws == 40


def test_a_collapsed_set_is_refuted_and_the_real_one_is_not() -> None:
    references = unit_rows(50)
    collapsed = report(references[:5].repeat(20, 1), references=references)
    assert "is refuted" in collapsed["irs_rejection_threshold"].note
    faithful = report(references.repeat(2, 1), references=references)
    assert "is not refuted" in faithful["irs_rejection_threshold"].note


def test_the_worst_group_is_the_one_of_the_most_alike_images() -> None:
    alike = unit_rows(1) + 0.05 * unit_rows(12, 1)
    alike = alike / alike.norm(dim=1, keepdim=True)
    found = report(torch.cat([unit_rows(4, 2), alike, unit_rows(1, 3)]), groups=["a"] * 4 + ["b"] * 12 + ["c"])
    assert found.worst_group == "b"
    assert {group.name: len(group.indices) for group in found.groups} == {"a": 4, "b": 12, "c": 1}
    # The larger group must not look better for being larger.
    assert (found.groups[1]["mean_distance"].value or 0) < (found.groups[0]["mean_distance"].value or 0)
    assert "'b'" in headline(found)


def test_conditional_scores_are_those_of_the_joint_kernel() -> None:
    """2411.02817: exp(H(X, T) - H(T)), with the product of both kernels as the joint one."""
    features, groups = unit_rows(14), ["a"] * 3 + ["b"] * 9 + ["c"] * 2
    found = report(features, groups=groups)
    kernel = (features @ features.T).double()
    same = torch.tensor([[float(one == other) for other in groups] for one in groups], dtype=torch.float64)
    for order in (1.0, 2.0):
        expected = vendi_score(kernel * same, order) / vendi_score(same, order)
        assert value(found, f"vendi_{order:g}_conditional") == pytest.approx(expected, rel=1e-5)


def test_what_prompts_differ_by_is_not_conditional_diversity() -> None:
    found = report(torch.eye(4).repeat_interleave(5, 0), groups=[name for name in "abcd" for _ in range(5)])
    assert value(found, "vendi_1") == pytest.approx(4)
    assert value(found, "vendi_1_conditional") == value(found, "vendi_2_conditional") == pytest.approx(1)


def test_groups_of_different_sizes_compare_among_equally_many_images() -> None:
    """A source of the same diversity must not look better for more images."""
    found = report(unit_rows(50), groups=["few"] * 10 + ["many"] * 40)
    few, many = found.groups
    assert (many["vendi_1"].value or 0) > 1.2 * (few["vendi_1"].value or 0)
    assert (many[EQUAL].value or 0) == pytest.approx(few[EQUAL].value or 0, rel=0.1)
    assert many[EQUAL].parameters["each"] == few[EQUAL].parameters["each"] == 10
    assert "random choices of 10 images with seed 0" in many[EQUAL].note and not few[EQUAL].note
    assert value_text(many[EQUAL]).endswith(" of 10")
    same = report(unit_rows(20), groups=["a", "b"] * 10)
    assert EQUAL not in {entry.name for group in same.groups for entry in group.measures}


def test_the_truncated_score_settles_with_few_images() -> None:
    def scores(count: int, name: str) -> float:
        return sum(value(report(unit_rows(count, seed, 128)), name) for seed in range(6)) / 6

    assert scores(128, "vendi_1") > 2.5 * scores(24, "vendi_1")
    assert scores(128, TRUNCATED) == pytest.approx(scores(24, TRUNCATED), rel=0.05)
    few = report(unit_rows(24))[TRUNCATED]
    assert few.parameters["bias"] < 0 and "too low (jackknife)" in few.note
    assert "bias" not in report(unit_rows(6))[TRUNCATED].parameters


def test_scores_that_grow_name_the_number_of_images() -> None:
    found = report(unit_rows(12), references=unit_rows(20, 1))
    for entry in found.measures:
        grows = entry.name.startswith("vendi_") or entry.name == "different_images"
        assert (" of 12" in value_text(entry)) == grows


def test_very_many_images_are_sampled_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling.sample_rows, "__defaults__", (10,))
    found = report(unit_rows(25), references=unit_rows(30, 1))
    assert "random choice of 10 of 25" in found["mean_distance"].note
    assert "random choice of 10 of 30" in found["recall"].note
    assert found["mean_distance"].images == 10 and found["vendi_1"].images == 25
    assert set(found.duplicates.kept) <= set(range(25)) and len(found.duplicates.kept) == 10


def test_json_and_csv_hold_every_number() -> None:
    found = report(unit_rows(12), groups=["=SUM(A1)", "b"] * 6, references=unit_rows(20, 1), held_out=unit_rows(9, 2))
    loaded = json.loads(to_json(found))
    assert [entry["name"] for entry in loaded["measures"]] == [entry.name for entry in found.measures]
    assert loaded["measures"][3]["parameters"] == {"order": "inf"}
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(lines) == len(found.measures) + sum(len(group.measures) for group in found.groups)
    assert lines[0]["name"] == "vendi_0.5" and float(lines[0]["value"]) == value(found, "vendi_0.5")
    assert {line["group"] for line in lines} == {"", "'=SUM(A1)", "b"}
    assert all(line["space"] == "toy" for line in lines)


def test_every_measure_has_a_name_for_people() -> None:
    faces = same_face({}, 12)
    found = report(
        unit_rows(12), groups=["a", "b"] * 6, references=unit_rows(20, 1), held_out=unit_rows(9, 2), faces=faces
    )
    assert {entry.name for entry in found.measures} == set(LABELS) - {EQUAL}
    assert all(label in table(found) for name, label in LABELS.items() if name != EQUAL)


def test_groups_must_fit_the_images() -> None:
    with pytest.raises(ValueError, match="group of each of 3 images"):
        report(unit_rows(3), groups=["a"])
    with pytest.raises(ValueError, match=r"shape \(n, d\)"):
        report(torch.zeros(3))
    with pytest.raises(KeyError):
        report(unit_rows(3))["fid"]
