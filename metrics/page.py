"""The report as one HTML file without scripts, fonts or network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from .measures.groups import GroupReport
from .measures.measure import Measure
from .measures.vendi_scores import EQUAL
from .report import DiversityReport
from .summary import LABELS, basis_text, headline, value_text

_LISTED = 200
# Pixels of an image beside one that repeats it.
_TILE = 192

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 62rem;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 2px solid #0072b2; }
.headline { font-size: 1.15rem; background: #eef5fa; border-left: 6px solid #0072b2; padding: .7rem 1rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.5rem; }
figure { margin: 0; }
figure.wide { grid-column: 1 / -1; max-width: 48rem; }
img { width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #444; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; }
td.basis { color: #555; font-size: .85rem; }
tr.worst td { background: #fdf3e1; }
.tables { overflow-x: auto; }
code, td, figcaption, .headline { overflow-wrap: anywhere; }
.repeats { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .6rem; padding: .6rem 0;
  border-bottom: 1px solid #ddd; }
.repeats figure { width: 8rem; }
.repeats p { margin: 2.5rem 0 0; color: #444; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; }
  .repeats figure { width: 6.5rem; }
  table, tbody, tr, td { display: block; }
  th { display: none; }
  tr { border-bottom: 1px solid #ddd; padding: .5rem 0; }
  td, td.number { border: 0; padding: .1rem 0; white-space: normal; }
}
"""


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the page.

    Attributes:
        image: the figure.
        title: what it shows; also the alternative text.
        caption: how to read it.
        photographic: whether it consists of images rather than of lines.
        wide: whether it has a row of its own.
    """

    image: Image.Image
    title: str
    caption: str
    photographic: bool = False
    wide: bool = False


def html_page(
    title: str,
    report: DiversityReport,
    names: Sequence[str],
    figures: Sequence[ReportFigure],
    thumbnails: Mapping[int, Image.Image],
    unreadable: Sequence[tuple[str, str]] = (),
    passed_over: Sequence[tuple[str, str]] = (),
    compared: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        title: such as the folder's name.
        report: on the images.
        names: of the images, in the order of the report.
        figures: in order.
        thumbnails: of images by their index, for those that repeat one another; the others are named only.
        unreadable: names of files that could not be read, and the reasons.
        passed_over: names of the folder's other entries, and the reasons why they were not measured.
        compared: sentences on the images and those before; they take the place of the headline.
    """
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Diversity Report: {escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Diversity Report: {escape(title)}</h1>",
        f'<p class="headline">{"<br>".join(map(escape, compared or [headline(report, names)]))}</p>',
        f"<p>Measured in the feature space <code>{escape(report.space)}</code>. "
        "Compare these numbers only with numbers of the same space.</p>",
        *_duplicates(report, names, thumbnails),
        '<div class="figures">',
        *(_figure(figure) for figure in figures),
        "</div>",
        "<h2>Numbers</h2>",
        _measures_table(report.measures),
        *_groups(report),
        *_pairs(report, names),
        *_files("unreadable files", unreadable),
        *_files("entries passed over", passed_over),
        "</body></html>",
    ]
    return "\n".join(parts)


def _figure(figure: ReportFigure) -> str:
    data = _data(figure.image, "JPEG" if figure.photographic else "PNG")
    opening = '<figure class="wide">' if figure.wide else "<figure>"
    return (
        f'{opening}<img alt="{escape(figure.title)}" src="{data}">'
        f"<figcaption><strong>{escape(figure.title)}.</strong> {escape(figure.caption)}</figcaption></figure>"
    )


def _data(image: Image.Image, kind: str) -> str:
    """An image as the address of itself."""
    stream = io.BytesIO()
    image.save(stream, kind, quality=88, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _measures_table(measures: Sequence[Measure]) -> str:
    rows = [
        f'<tr><td>{escape(LABELS[measure.name])}</td><td class="number">{escape(value_text(measure))}</td>'
        f'<td class="basis">{escape(basis_text(measure))}. {escape(measure.note)}</td></tr>'
        for measure in measures
    ]
    return _table(("Measure", "Value", "Computed on"), rows)


def _groups(report: DiversityReport) -> list[str]:
    if not report.groups:
        return []
    rows = []
    for group in report.groups:
        worst = group.name == report.worst_group
        opening = '<tr class="worst">' if worst else "<tr>"
        rows.append(
            f"{opening}<td>{escape(group.name)}{' (most alike)' if worst else ''}</td><td>{len(group.indices):,}</td>"
            f'<td class="number">{escape(value_text(group["mean_distance"]))}</td>'
            f'<td class="number">{escape(value_text(_comparable(group)))}</td></tr>'
        )
    note = (
        "<p>Effective numbers grow with the number of images, so all groups are compared among as many as the smallest "
        "one has (random choices, seed 0). Mean distances of groups of any size compare.</p>"
    )
    head = ("Group", "Images", "Mean distance", "Effective number")
    return ["<h2>Groups</h2>", note, _table(head, rows)]


def _comparable(group: GroupReport) -> Measure:
    """The effective number among as many images as in the other groups."""
    return next((measure for measure in group.measures if measure.name == EQUAL), group["vendi_1"])


def _duplicates(report: DiversityReport, names: Sequence[str], thumbnails: Mapping[int, Image.Image]) -> list[str]:
    """Which images repeat which, side by side."""
    duplicates = report.duplicates
    if not duplicates.rejected:
        return []
    parts = ["<h2>Which images repeat which</h2>"]
    rest: list[tuple[int, int]] = []
    for original, *repeats in duplicates.clusters:
        shown = [index for index in repeats if index in thumbnails]
        rest += [(index, original) for index in repeats if index not in thumbnails or original not in thumbnails]
        if shown and original in thumbnails:
            tiles = "".join(_tile(thumbnails[index], names[index]) for index in shown)
            kept = _tile(thumbnails[original], names[original])
            parts.append(f'<div class="repeats">{kept}<p>is repeated by</p>{tiles}</div>')
    if rest:
        rows = [
            f"<tr><td>{escape(names[index])}</td><td>{escape(names[original])}</td></tr>"
            for index, original in rest[:_LISTED]
        ]
        parts += [_table(("Image", "Repeats"), rows), _left_out(len(rest))]
    return parts


def _tile(image: Image.Image, name: str) -> str:
    small = image.resize((_TILE, _TILE))
    return f'<figure><img alt="" src="{_data(small, "JPEG")}"><figcaption>{escape(name)}</figcaption></figure>'


def _pairs(report: DiversityReport, names: Sequence[str]) -> list[str]:
    rows = [
        f'<tr><td class="number">{pair.distance:.3f}</td><td>{escape(names[pair.first])}</td>'
        f"<td>{escape(names[pair.second])}</td></tr>"
        for pair in report.closest[:20]
    ]
    return ["<h2>Closest pairs</h2>", _table(("Distance", "Image", "Image"), rows)] if rows else []


def _files(title: str, files: Sequence[tuple[str, str]]) -> list[str]:
    rows = [f"<tr><td>{escape(name)}</td><td>{escape(reason)}</td></tr>" for name, reason in files[:_LISTED]]
    if not rows:
        return []
    return [f"<h2>{len(files):,} {title}</h2>", _table(("File", "Reason"), rows), _left_out(len(files))]


def _left_out(count: int) -> str:
    return f"<p>… and {count - _LISTED:,} more.</p>" if count > _LISTED else ""


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="tables"><table><tr>{cells}</tr>{"".join(rows)}</table></div>'
