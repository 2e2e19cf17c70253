"""The ablations of Vendi Guidance as charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...metrics.figures.canvas import (
    FAINT,
    INK,
    PALETTE,
    chart,
    rendered,
)

if TYPE_CHECKING:
    from .record import Result
    from .rows import Row

WIDTH = 1024

Measured = Sequence[tuple["Row", "Result"]]


def write_charts(results: Measured, folder: Path) -> None:
    """Write ``vendi_exemplars.png``, ``vendi_frequency.png``, ``vendi_groups.png`` and ``vendi_bias.png``.

    Raises:
        ValueError: matplotlib is not installed.
    """
    _exemplars(results, folder / "vendi_exemplars.png")
    _frequency(results, folder / "vendi_frequency.png")
    _groups(results, folder / "vendi_groups.png")
    _bias(results, folder / "vendi_bias.png")


def _found(results: Measured, name: str, part: str, cfg: float = 5.0) -> Result:
    return next(result for row, result in results if (row.name, row.part, row.cfg) == (name, part, cfg))


def _coverage(result: Result) -> float:
    return result.summary.modes / result.summary.known


def _exemplars(results: Measured, path: Path) -> None:
    plain, without = _found(results, "none", "baselines"), _found(results, "Vendi Guidance", "baselines")
    points = [(0, without), *((row.exemplars, result) for row, result in results if row.part == "exemplars")]
    figure, (panel,) = chart(WIDTH, 0.6)
    measures = {
        "known modes reached": ("o", [_coverage(r) for _, r in points], _coverage(plain)),
        "recall": ("s", [r.recall for _, r in points], plain.recall),
        "precision": ("^", [r.precision for _, r in points], plain.precision),
        "prompt fidelity": ("D", [r.summary.fidelity for _, r in points], plain.summary.fidelity),
    }
    for (name, (mark, values, before)), colour in zip(measures.items(), PALETTE, strict=False):
        panel.plot(range(len(points)), values, color=colour, marker=mark, linewidth=2, label=name)
        panel.axhline(before, color=colour, linestyle=":", linewidth=1)
    panel.set_xticks(range(len(points)), [str(count) for count, _ in points])
    panel.set_xlabel("exemplars (dotted: without guidance)", fontsize=9, color=INK)
    panel.set_ylabel("share", fontsize=9, color=INK)
    panel.set_ylim(0, 1.02)
    panel.legend(fontsize=8, frameon=False, ncols=2)
    rendered(figure).save(path)


def _frequency(results: Measured, path: Path) -> None:
    every, plain = _found(results, "Vendi Guidance", "baselines"), _found(results, "none", "baselines")
    points = [("1", every)]
    points += [(row.name.split()[1], result) for row, result in results if row.part == "frequency"]
    points.append(("never", plain))
    figure, (upper, lower) = chart(WIDTH, 0.75, rows=2)
    places = range(len(points))
    upper.plot(places, [result.summary.modes for _, result in points], color=PALETTE[0], marker="o", linewidth=2)
    upper.set_ylabel(f"modes of {plain.summary.known:.1f}", fontsize=9, color=INK)
    upper.set_ylim(0, 1.1 * max(result.summary.modes for _, result in points))
    lower.plot(places, [result.summary.fidelity for _, result in points], color=PALETTE[1], marker="s", linewidth=2)
    lower.set_ylabel("prompt fidelity", fontsize=9, color=INK)
    lower.set_ylim(0, 1.02)
    lower.set_xticks(places, [name for name, _ in points])
    lower.set_xlabel("guidance measures at every n-th step", fontsize=9, color=INK)
    rendered(figure).save(path)


def _groups(results: Measured, path: Path) -> None:
    before, after = _found(results, "none", "baselines"), _found(results, "Vendi Guidance", "baselines")
    names = [share.group for share in before.groups]
    figure, (panel,) = chart(WIDTH, 0.75)
    places = range(len(names))
    bars = (("without guidance", before, FAINT, -0.2), ("Vendi Guidance", after, PALETTE[0], 0.2))
    for name, result, colour, offset in bars:
        panel.barh(
            [place + offset for place in places],
            [share.coverage for share in result.groups],
            height=0.38,
            color=colour,
            label=name,
        )
    panel.set_yticks(places, names)
    panel.invert_yaxis()
    panel.set_xlabel("share of the group's known modes that is reached", fontsize=9, color=INK)
    panel.legend(fontsize=8, frameon=False)
    rendered(figure).save(path)


def _bias(results: Measured, path: Path) -> None:
    biased = [(row, result) for row, result in results if row.part == "bias"]
    series = {
        "without guidance": _found(results, "none", "baselines"),
        "no exemplars": _found(results, "Vendi Guidance", "baselines"),
        "4 exemplars of any kind": _found(results, "4 exemplars", "exemplars"),
    }
    figure, (panel,) = chart(WIDTH, 0.6)
    width = 0.2
    for number, name in enumerate([*series, "4 exemplars of this group"]):
        values = []
        for row, result in biased:
            shares = series.get(name, result).groups
            values.append(next(share.images for share in shares if share.group == row.biased))
        panel.bar(
            [place + (number - 1.5) * width for place in range(len(biased))],
            values,
            width=width * 0.92,
            color=[FAINT, *PALETTE][number],
            label=name,
        )
    panel.set_xticks(range(len(biased)), [row.biased for row, _ in biased])
    panel.set_ylabel("share of images that show the group", fontsize=9, color=INK)
    panel.legend(fontsize=8, frameon=False)
    rendered(figure).save(path)
