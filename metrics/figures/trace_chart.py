"""What guidance did, step by step: size of the push and share of samples pushed (arXiv 2410.06025, figure 5)."""

from __future__ import annotations

from statistics import median

from PIL import Image

from ...guidance.trace import StepRecord, Trace
from .canvas import FAINT, INK, NODE_WIDTH, PALETTE, chart, rendered

_TICKS = 8
_STYLES = ("-", "--", "-.", ":")
_MARKS = "osD^v"


def trace_chart(trace: Trace, width: int = NODE_WIDTH) -> Image.Image:
    """Draw both, one line a method.

    Args:
        trace: of one run.
        width: in pixels.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure, (push, share) = chart(width, 0.85, rows=2)
    sigmas = sorted({step.sigma for step in trace.steps}, reverse=True)
    by_method: dict[str, list[StepRecord]] = {}
    for step in trace.steps:
        by_method.setdefault(step.method, []).append(step)
    for place, (method, steps) in enumerate(by_method.items()):
        colour, style = PALETTE[place % len(PALETTE)], _STYLES[place % len(_STYLES)]
        where = [sigmas.index(step.sigma) for step in steps]
        moved = [[100 * record.correction for record in step.samples] or [0.0] for step in steps]
        mark = _MARKS[place % len(_MARKS)]
        push.fill_between(
            where, [min(sizes) for sizes in moved], [max(sizes) for sizes in moved], color=colour, alpha=0.2
        )
        push.plot(
            where, [median(sizes) for sizes in moved], style, color=colour, marker=mark, markersize=4, label=method
        )
        share.plot(where, [100 * step.active_share for step in steps], style, color=colour, marker=mark, markersize=4)
    if not trace.steps:
        push.text(0.5, 0.5, "Guidance was not active.", transform=push.transAxes, ha="center", color=FAINT)
    else:
        push.legend(fontsize=9, frameon=False)
        stride = -(-len(sigmas) // _TICKS)
        share.set_xticks(range(0, len(sigmas), stride), [f"{sigma:.2g}" for sigma in sigmas[::stride]])
    push.set_ylim(bottom=0)
    push.set_ylabel("push, % of the estimate", fontsize=9, color=INK)
    push.set_title("median over samples; shaded: smallest to largest", fontsize=9)
    share.set_ylim(-3, 103)
    share.set_ylabel("samples pushed in %", fontsize=9, color=INK)
    share.set_xlabel("noise level sigma, from start to end", fontsize=9, color=INK)
    return rendered(figure)
