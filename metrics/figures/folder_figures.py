"""The figures of a folder's report; only the images that they show are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from ...features.image_files import ImageFileError, read_ahead, read_image
from ..measures.subsample import sample_rows
from ..page import ReportFigure
from ..report import DiversityReport
from .batch_figures import FACES_CAPTION, FACES_TITLE
from .canvas import PAPER, tile
from .grid import BESIDE, SAME_FACE, draw_clusters, draw_grid, shown_in_grid
from .image_map import far_apart, image_map
from .irs_chart import irs_chart
from .similarity_map import similarity_map
from .spectrum_chart import spectrum_chart

_WIDTH = 1024
_TILE = 256
# Sets of images that share a face.
_FACES = 6
# Largest number of points on the map; larger sets are sampled.
_MAPPED = 2000


def folder_figures(
    report: DiversityReport, paths: Sequence[Path], features: Tensor, groups: Sequence[str] | None
) -> tuple[list[ReportFigure], dict[int, Image.Image]]:
    """Draw all figures, and give the images that the first one shows by their index; repeated ones come first.

    Args:
        report: on the folder.
        paths: of its images.
        features: (n, d) unit rows, NaN for unreadable files.
        groups: name of each image's group.
    """
    unmeasured = set(report.unmeasured)
    readable = [index for index in range(len(paths)) if index not in unmeasured]
    if not readable:
        return [], {}
    rows = [readable[place] for place in sample_rows(len(readable), _MAPPED).tolist()]
    shown = [index for index in shown_in_grid(len(paths), report.duplicates) if index not in unmeasured]
    chosen = features[rows]
    marked = far_apart(chosen)
    same_faces = [] if report.faces is None else report.faces.groups[:_FACES]
    beside = [index for group in same_faces for index in group[:BESIDE]]
    thumbnails = _thumbnails([paths[index] for index in {*shown, *beside, *(rows[row] for row in marked)}])
    mapped_groups = None if groups is None else [str(groups[row]) for row in rows]
    figures = [
        ReportFigure(
            draw_grid([thumbnails[paths[index]] for index in shown], shown, report.duplicates, _WIDTH, len(readable)),
            "The images",
            "Images with the same letter are near-duplicates; the ones struck out would be rejected.",
            photographic=True,
            wide=True,
        ),
        ReportFigure(
            image_map(chosen, [thumbnails[paths[rows[row]]] for row in marked], marked, mapped_groups, _WIDTH),
            "Map",
            "Every dot is an image. Clumps look alike; an empty plane with one clump is a narrow set.",
            photographic=True,
        ),
        ReportFigure(
            similarity_map(chosen, _WIDTH),
            "Similarity of all pairs",
            "Bright squares are families of images that look alike.",
        ),
        ReportFigure(
            spectrum_chart(report, _WIDTH),
            "Spectrum",
            "How the set divides into independent kinds; the orange line is the effective number of images.",
        ),
    ]
    if same_faces:
        images = {index: thumbnails[paths[index]] for index in beside}
        drawn = draw_clusters(images, same_faces, _WIDTH, _FACES, SAME_FACE)
        figures.insert(1, ReportFigure(drawn, FACES_TITLE, FACES_CAPTION, photographic=True))
    if report.retrieval is not None:
        figures.append(
            ReportFigure(
                irs_chart(report.retrieval, report.real_retrieval, _WIDTH),
                "Image Retrieval Score",
                "Share of the reference images that are the nearest neighbour of some image. Even real images "
                "stay below the ideal line: compare with theirs.",
            )
        )
    return figures, {index: thumbnails[paths[index]] for index in shown}


def _thumbnails(paths: Sequence[Path]) -> dict[Path, Image.Image]:
    """Each file is decoded once, several at a time; one that changed since it was measured is blank."""
    blank = Image.new("RGB", (_TILE, _TILE), PAPER)
    read = read_ahead(paths, lambda path: tile(read_image(path, _TILE), _TILE))
    return {path: blank if isinstance(image, ImageFileError) else image for path, image in read}
