"""The Image Retrieval Score against the number of samples (arXiv 2411.16171): model, real images and ideal."""

from __future__ import annotations

from PIL import Image

from ..measures.retrieval import Retrieval, ideal_share
from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, chart, rendered

_POINTS = 60


def irs_chart(retrieval: Retrieval, real: Retrieval | None = None, width: int = NODE_WIDTH) -> Image.Image:
    """Draw the share of references retrieved so far, and its projected band.

    Args:
        retrieval: of the generated images.
        real: of held-out real images.
        width: in pixels.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure, (panel,) = chart(width, 0.75)
    references = retrieval.references
    farthest = max(2 * retrieval.draws, real.draws if real is not None else 0, references)
    draws = sorted({max(1, round(farthest * step / _POINTS)) for step in range(1, _POINTS + 1)})
    alphas = [count / references for count in draws]
    panel.plot(
        alphas,
        [100 * ideal_share(count, references) for count in draws],
        color=FAINT,
        linestyle="--",
        label="ideal: every reference equally likely",
    )
    for found, colour, mark, name in (
        (real, PALETTE[1], "s", "held-out real"),
        (retrieval, PALETTE[0], "o", "generated"),
    ):
        if found is None:
            continue
        low, middle, high = (
            [100 * ideal_share(count, references, share * references) for count in draws]
            for share in (found.lower, found.infinity, found.upper)
        )
        panel.fill_between(alphas, low, high, color=colour, alpha=0.18, linewidth=0)
        panel.plot(alphas, middle, color=colour, linewidth=1)
        panel.plot(
            [count / references for count, _ in found.curve],
            [100 * learned / references for _, learned in found.curve],
            color=colour,
            marker=mark,
            markevery=max(1, len(found.curve) // 8),
            linewidth=2.5,
            label=f"{name}: in the limit {found.infinity:.0%} ({found.lower:.0%} to {found.upper:.0%})",
        )
    panel.set_ylim(0, 102)
    panel.set_xlim(0, alphas[-1])
    panel.set_xlabel(f"images per reference ({references:,} references)", fontsize=9, color=INK)
    panel.set_ylabel("references retrieved in %", fontsize=9, color=INK)
    panel.legend(fontsize=8.5, frameon=False, loc="upper left" if retrieval.infinity < 0.4 else "lower right")
    return rendered(figure)
