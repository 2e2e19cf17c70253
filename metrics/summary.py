"""The report in sentences and as a text table, for a node, a terminal and a page."""

from __future__ import annotations

from collections.abc import Sequence

from .faces.same_face import face_sentences
from .measures.measure import Measure
from .measures.vendi_scores import TRUNCATION
from .report import DiversityReport

LABELS = {
    "vendi_0.5": "Effective number of images, rare ones included (Vendi 0.5)",
    "vendi_1": "Effective number of images (Vendi)",
    "vendi_2": "Effective number of images, common ones first (Vendi 2, RKE)",
    "vendi_inf": "Effective number of images, the commonest alone (Vendi infinity)",
    "vendi_1_truncated": f"Effective number up to {TRUNCATION}, settled with few images (truncated Vendi)",
    "vendi_1_equal": "Effective number among equally many images (Vendi)",
    "vendi_1_conditional": "Effective number within a group (conditional Vendi)",
    "vendi_2_conditional": "Effective number within a group, common images first (conditional RKE)",
    "mean_distance": "Mean distance of two images",
    "smallest_distance": "Smallest distance of two images",
    "near_duplicate_pairs": "Pairs of near-duplicates",
    "different_images": "Images without near-duplicates among them",
    "images_with_face": "Images with a face that can be compared",
    "same_face_images": "Images that show the same face, the largest such set",
    "precision": "Precision: images that look real",
    "recall": "Recall: references within reach of an image",
    "density": "Density: real neighbours of an image",
    "coverage": "Coverage: references with an image nearby",
    "frechet_distance": "Fréchet distance to the references",
    "irs_alpha": "References retrieved so far (IRS alpha)",
    "irs_infinity": "References that endless sampling would retrieve (IRS infinity)",
    "irs_alpha_real": "References retrieved by held-out real images",
    "irs_infinity_real": "References that endless real images would retrieve",
    "irs_infinity_adjusted": "IRS infinity relative to real images",
    "irs_rejection_threshold": "Retrieved references that refute 80 % coverage (k_min)",
}
"""Names of the measures for readers."""

_PAIRS_NAMED = 5

OF_ALL = frozenset({"different_images", "images_with_face", "same_face_images"})
"""Measures that count images."""

COUNTS = OF_ALL | {"near_duplicate_pairs", "irs_rejection_threshold"}
"""Measures that are whole numbers."""


def grows(measure: Measure) -> bool:
    """Whether a score grows with the number of images, so that it means little without it."""
    return measure.name.startswith("vendi_") and not measure.name.endswith("_conditional")


def headline(report: DiversityReport, names: Sequence[str] | None = None) -> str:
    """One or two sentences for readers who do not know the metrics.

    Args:
        report: the report.
        names: of its images; None to number them from 0.
    """
    measured = report.images - len(report.unmeasured)
    if measured < 2:
        return " ".join(report.notes)
    effective = report["vendi_1"].value or 0.0
    sentences = [f"{measured} images, as different as {effective:.1f} that have nothing in common."]
    rejected = len(report.duplicates.rejected)
    sentences.append(
        f"{rejected} of them repeat{'s' * (rejected == 1)} another one almost exactly: {repeats_text(report, names)}."
        if rejected
        else "No two of them are near-duplicates."
    )
    if report.faces is not None:
        sentences += face_sentences(report.faces, names)
    if report.worst_group is not None:
        sentences.append(f"Most alike are the images of {report.worst_group!r}.")
    return " ".join([*sentences, *report.notes])


def repeats_text(report: DiversityReport, names: Sequence[str] | None = None) -> str:
    """Which images repeat which: ``image 4 repeats image 1, image 7 repeats image 3``."""
    duplicates = report.duplicates
    pairs = list(zip(duplicates.rejected, duplicates.duplicate_of, strict=True))
    called = [
        tuple(f"image {index}" if names is None else names[index] for index in pair) for pair in pairs[:_PAIRS_NAMED]
    ]
    told = ", ".join(f"{image} repeats {original}" for image, original in called)
    return told + (f", and {len(pairs) - _PAIRS_NAMED:,} more" if len(pairs) > _PAIRS_NAMED else "")


def value_text(measure: Measure) -> str:
    """The number with n, if it grows with n, and its interval: ``3.17 of 16 (2.25 to 4.08)``; or a dash."""
    if measure.value is None:
        return "–"
    if measure.name in COUNTS:
        return f"{measure.value:,.0f}" + (f" of {measure.images:,}" if measure.name in OF_ALL else "")
    text = f"{measure.value:.3g}"
    if grows(measure):
        text += f" of {measure.parameters.get('each', measure.images):,.0f}"
    if measure.lower is not None and measure.upper is not None:
        text += f" ({measure.lower:.3g} to {measure.upper:.3g})"
    return text


def basis_text(measure: Measure) -> str:
    """What a number was computed on, apart from the feature space."""
    parts = [f"{measure.images:,} images"]
    if measure.references:
        parts.append(f"{measure.references:,} references")
    parts += [f"{name} {value:.3g}" for name, value in measure.parameters.items() if name != "order"]
    if measure.interval:
        parts.append(measure.interval)
    return ", ".join(parts)


def table(report: DiversityReport, names: Sequence[str] | None = None) -> str:
    """The whole report as text: headline, feature space, all measures with what they were computed on, and groups.

    Args:
        report: the report.
        names: of its images; None to number them from 0.
    """
    lines = [headline(report, names), f"Feature space: {report.space}.", "", *_aligned(report.measures)]
    for group in report.groups:
        worst = "  <- most alike" if group.name == report.worst_group else ""
        lines += ["", f"{group.name}: {len(group.indices)} images{worst}", *_aligned(group.measures)]
    return "\n".join(lines)


def _aligned(measures: Sequence[Measure]) -> list[str]:
    rows = [(LABELS[measure.name], value_text(measure), basis_text(measure), measure.note) for measure in measures]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [
        f"  {label:{widths[0]}}  {value:{widths[1]}}  {basis}. {note}".rstrip(". ") + "."
        for label, value, basis, note in rows
    ]
