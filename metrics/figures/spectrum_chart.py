"""The spectrum of the similarity kernel: the effective number of different images."""

from __future__ import annotations

from PIL import Image

from ..report import DiversityReport
from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, chart, rendered

_SHOWN = 32


def spectrum_chart(report: DiversityReport, width: int = NODE_WIDTH) -> Image.Image:
    """Draw the largest eigenvalues as shares, those of as many unrelated images, and the Vendi Score.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure, (panel,) = chart(width, 0.65)
    shares = [100 * share for share in report.spectrum[:_SHOWN]]
    places = range(1, len(shares) + 1)
    score = report["vendi_1"]
    panel.bar(places, shares, color=PALETTE[0], label="these images")
    if score.images:
        even = 100 / score.images
        panel.axhline(even, color=FAINT, linestyle="--", label=f"{score.images} unrelated images")
    if score.value is not None:
        panel.axvline(score.value, color=PALETTE[1], linewidth=2.5, label=f"effective number {score.value:.1f}")
        if score.lower is not None and score.upper is not None:
            panel.axvspan(score.lower, score.upper, color=PALETTE[1], alpha=0.2)
    panel.set_xlim(0.4, max(len(shares), 1) + 0.6)
    panel.set_xlabel("independent kinds of image, largest first", fontsize=9, color=INK)
    panel.set_ylabel("share in %", fontsize=9, color=INK)
    panel.legend(fontsize=9, frameon=False)
    panel.set_title("One tall bar: all alike. Many even bars: diverse.", fontsize=10)
    return rendered(figure)
