"""Similarity of every pair as a heat map, ordered by clusters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from ...kernels.similarity import cosine_kernel
from ..measures.subsample import sample_note, sample_rows
from .canvas import FAINT, NODE_WIDTH, chart, rendered, tile

SHOWN = 400
_THUMBNAILS = 24
_THUMBNAIL_SIDE = 96


def similarity_map(
    features: Tensor, width: int = NODE_WIDTH, images: Sequence[Image.Image] | None = None
) -> Image.Image:
    """Draw the heat map.

    Args:
        features: (n, d) unit rows; a random sample of 400 is shown.
        width: in pixels.
        images: drawn along the axes if there are few.

    Returns:
        The map, with the same colour scale in every report.

    Raises:
        ValueError: matplotlib is not installed.
    """
    rows = sample_rows(len(features), SHOWN)
    kernel = cosine_kernel(features[rows])
    order = rows[cluster_order(kernel)]
    figure, (panel,) = chart(width, 0.92)
    if not len(rows):
        panel.text(0.5, 0.5, "no images", transform=panel.transAxes, ha="center", color=FAINT)
        return rendered(figure)
    similarities = cosine_kernel(features[order]).numpy()
    shown = panel.imshow(similarities, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(shown, ax=panel, shrink=0.85)
    bar.set_label("cosine similarity (1: the same)", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    panel.spines[:].set_visible(False)
    title = f"{len(rows)} images, those alike side by side"
    panel.set_title(sample_note(len(rows), len(features)) or title, fontsize=10)
    if images is not None and len(rows) <= _THUMBNAILS:
        _draw_thumbnails(panel, [images[index] for index in order.tolist()])
    elif len(rows) <= 40:
        panel.set_xticks(range(len(rows)), order.tolist(), rotation=90, fontsize=7)
        panel.set_yticks(range(len(rows)), order.tolist(), fontsize=7)
    else:
        panel.set_xticks([])
        panel.set_yticks([])
    return rendered(figure)


def cluster_order(kernel: Tensor) -> Tensor:
    """Order items so that neighbours are similar: the leaves of average-linkage clustering.

    Args:
        kernel: (n, n) cosine similarities.
    """
    if len(kernel) < 3:
        return torch.arange(len(kernel))
    distances = (1 - kernel.double()).clamp_min(0)
    distances.fill_diagonal_(0)
    condensed = squareform(((distances + distances.T) / 2).numpy(), checks=False)
    return torch.from_numpy(leaves_list(linkage(condensed, "average", optimal_ordering=True)).astype("int64"))


def _draw_thumbnails(panel, images: Sequence[Image.Image]) -> None:  # type: ignore[no-untyped-def]
    """Draw images instead of tick labels, as large as a cell."""
    panel.set_xticks([])
    panel.set_yticks([])
    count = len(images)
    for place, image in enumerate(images):
        thumbnail = tile(image, _THUMBNAIL_SIDE)
        for centre in ((place, count + 0.1), (-1.1, place)):
            extent = (centre[0] - 0.45, centre[0] + 0.45, centre[1] + 0.45, centre[1] - 0.45)
            panel.imshow(thumbnail, extent=extent, interpolation="lanczos", clip_on=False)
    panel.set_xlim(-1.6, count - 0.5)
    panel.set_ylim(count + 0.6, -0.5)
