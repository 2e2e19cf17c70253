"""The figures and numbers of a report on a batch, with a batch before it and the trace of guidance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ...guidance.trace import Trace
from ..batch import Thumbnails
from ..measures.protected import GUIDANCE, ProtectedReport
from ..page import ReportFigure
from ..report import DiversityReport
from ..summary import LABELS, value_text
from .comparison import side_by_side
from .grid import REPEATS, SAME_FACE, SHOWN, draw_clusters, image_grid
from .image_map import far_apart, image_map
from .irs_chart import irs_chart
from .protected_chart import protected_chart
from .repelled import repelled_from
from .report_sheet import Row, column_width, full_width
from .similarity_map import similarity_map
from .spectrum_chart import spectrum_chart
from .trace_chart import trace_chart

BEFORE, AFTER = "before", "after"

FACES_TITLE = "Which images show the same face"
FACES_CAPTION = (
    "Faces were compared by a network that errs; docs/same_face.md says how often. Nothing is rejected for it."
)

# Repeated images, or sets that share a face, on the sheet.
_REPEATED = 6

_TABLE = (
    "vendi_1",
    "vendi_1_truncated",
    "vendi_1_conditional",
    "mean_distance",
    "smallest_distance",
    "different_images",
    "same_face_images",
    "precision",
    "recall",
    "coverage",
    "frechet_distance",
    "irs_infinity",
    "irs_infinity_adjusted",
)


@dataclass(frozen=True)
class MeasuredBatch:
    """A batch of images and its report.

    Attributes:
        images: thumbnails.
        features: (n, d) unit rows, NaN for an image that could not be measured.
        report: on the images.
    """

    images: Thumbnails
    features: Tensor
    report: DiversityReport

    @property
    def measured(self) -> list[int]:
        """Indices of the images that could be measured."""
        return torch.nonzero(self.features.isfinite().all(1)).flatten().tolist()


@dataclass(frozen=True)
class GuidedRun:
    """A sampling run with guidance.

    Attributes:
        trace: of the run.
        images: final images, one for each sample.
        thumbnails: of references, by their identity in the trace.
    """

    trace: Trace
    images: Sequence[Image.Image]
    thumbnails: Mapping[str, Image.Image]


def number_rows(after: MeasuredBatch, before: MeasuredBatch | None = None) -> list[Row]:
    """The main numbers as rows of a table, with those of the batch before."""
    batches = [batch for batch in (before, after) if batch is not None]
    names = {measure.name for measure in after.report.measures}
    rows = [("", *((BEFORE, AFTER) if before is not None else ("value",)))]
    for name in (name for name in _TABLE if name in names):
        rows.append((LABELS[name], *(value_text(batch.report[name]) for batch in batches)))
    return rows


def first_figure(after: MeasuredBatch, before: MeasuredBatch | None, width: int) -> ReportFigure:
    """The images themselves, and those of the batch before.

    Args:
        after: the batch.
        before: the batch to compare it with.
        width: in pixels.
    """
    caption = "Images with the same letter are near-duplicates; the ones struck out would be rejected."
    if before is None:
        grid = image_grid(after.images, after.report.duplicates, width, caption=False)
        return ReportFigure(grid, "The images", caption, photographic=True)
    image = side_by_side((BEFORE, AFTER), (before.images, after.images), (before.report, after.report), width)
    return ReportFigure(image, "Before and after", caption, photographic=True, wide=True)


def repeats_figure(batch: MeasuredBatch, width: int, rows: int) -> ReportFigure | None:
    """Which images repeat which, side by side; None if none does.

    Args:
        batch: the batch.
        width: in pixels.
        rows: images that are repeated, at most.
    """
    duplicates = batch.report.duplicates
    if not duplicates.rejected:
        return None
    drawn = draw_clusters(batch.images, duplicates.clusters, width, rows, REPEATS)
    caption = "Left, the image that is kept; right, those that would be rejected."
    return ReportFigure(drawn, "Which images repeat which", caption, photographic=True)


def faces_figure(batch: MeasuredBatch, width: int, rows: int) -> ReportFigure | None:
    """Which images show the same face, side by side; None if no two do or that was not asked for.

    Args:
        batch: the batch.
        width: in pixels.
        rows: sets of images that share a face, at most.
    """
    faces = batch.report.faces
    if faces is None or not faces.groups:
        return None
    drawn = draw_clusters(batch.images, faces.groups, width, rows, SAME_FACE)
    return ReportFigure(drawn, FACES_TITLE, FACES_CAPTION, photographic=True)


def batch_figures(
    after: MeasuredBatch,
    before: MeasuredBatch | None = None,
    groups: Sequence[str] | None = None,
    run: GuidedRun | None = None,
    protected: Sequence[ProtectedReport] = (),
) -> Iterator[ReportFigure]:
    """Draw all figures, one at a time.

    Args:
        after: the batch.
        before: the batch to compare it with.
        groups: name of each image's group.
        run: that sampled the batch.
        protected: distances to protected images.

    Raises:
        ValueError: matplotlib is not installed.
    """
    yield first_figure(after, before, column_width() if before is None else full_width())
    if repeated := repeats_figure(after, column_width(), _REPEATED):
        yield repeated
    if shared := faces_figure(after, column_width(), _REPEATED):
        yield shared
    if run is not None:
        yield from _run_figures(run)
    for near in protected:
        yield ReportFigure(
            protected_chart(near, column_width()),
            f"Protected images ({near.source})",
            "How far every image is from the nearest protected one"
            + ("; before, how near it came while it was sampled." if near.source == GUIDANCE else "."),
        )
    if not after.measured:
        return
    yield _map(after, before, groups)
    for batch, when in ((before, f" {BEFORE}"), (after, f" {AFTER}" if before is not None else "")):
        if batch is not None and batch.measured:
            yield _similarities(batch, f"Similarity of all pairs{when}")
    yield ReportFigure(
        spectrum_chart(after.report, column_width()),
        "Spectrum",
        "How the set divides into independent kinds; the orange line is the effective number of images.",
    )
    if after.report.retrieval is not None:
        yield ReportFigure(
            irs_chart(after.report.retrieval, after.report.real_retrieval, column_width()),
            "Image Retrieval Score",
            "Share of the references that are the nearest neighbour of some image.",
        )


def _run_figures(run: GuidedRun) -> Iterator[ReportFigure]:
    if any(run.trace.contacts_of(sample) for sample in range(len(run.images))):
        yield ReportFigure(
            repelled_from(run.trace, run.images, run.thumbnails, column_width()),
            "Pushed apart",
            "Left, the finished images; right, what each came too close to while it was sampled.",
            photographic=True,
        )
    yield ReportFigure(
        trace_chart(run.trace, column_width()),
        "What guidance did",
        "Above, how far estimates were moved at each step; below, how many of them.",
    )


def _similarities(batch: MeasuredBatch, title: str) -> ReportFigure:
    rows = batch.measured
    images = [batch.images[row] for row in rows] if len(rows) <= SHOWN else None
    caption = "Bright squares are families of images that look alike."
    return ReportFigure(similarity_map(batch.features[rows], column_width(), images), title, caption)


def _map(after: MeasuredBatch, before: MeasuredBatch | None, groups: Sequence[str] | None) -> ReportFigure:
    """Both batches on one map, so that their spreads compare."""
    batches = [batch for batch in (before, after) if batch is not None]
    features = torch.cat([batch.features[batch.measured] for batch in batches])
    places = [(batch, row) for batch in batches for row in batch.measured]
    names: list[str] | None = [BEFORE if batch is before else AFTER for batch, _ in places]
    if before is None:
        names = None if groups is None else [str(groups[row]) for _, row in places]
    marked = far_apart(features)
    images = [places[mark][0].images[places[mark][1]] for mark in marked]
    return ReportFigure(
        image_map(features, images, marked, names, column_width()),
        "Map",
        "Every dot is an image. Clumps look alike; an empty plane with one clump is a narrow set.",
        photographic=True,
    )
