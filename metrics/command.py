"""``diversity-guidance report FOLDER``: measure folders of any size, with progress and in bounded memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..features.named import CLIP_PREFIX, SPACE_NAMES, picture_space
from ..features.picture_files import find_pictures
from .figures.folder_figures import folder_plates
from .measured_folder import FolderFeatures, measure_folder
from .page import html_page
from .progress import progress_line
from .report import NEIGHBOURS, DiversityReport, measure
from .serialise import to_csv, to_plain
from .summary import table

_FILE_NAME = "diversity-report"
_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("folder", type=Path, help="pictures to be measured, subfolders included")
    parser.add_argument("--reference", type=Path, help="real pictures to compare with, such as a training set")
    parser.add_argument(
        "--held-out", type=Path, help="further real pictures, for the Image Retrieval Score relative to real ones"
    )
    parser.add_argument(
        "--space",
        default=SPACE_NAMES[0],
        help=f"feature space: {', '.join(SPACE_NAMES)} or {CLIP_PREFIX}FOLDER of an open_clip model "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--neighbours", type=int, default=NEIGHBOURS, help="for precision and recall (default: %(default)s)"
    )
    parser.add_argument(
        "--duplicate-distance", type=float, help="of near-duplicates, 0 to 2 (default: the space's own)"
    )
    parser.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean", help="for retrieval")
    parser.add_argument("--json", action="store_true", help=f"write {_FILE_NAME}.json with everything")
    parser.add_argument("--csv", action="store_true", help=f"write {_FILE_NAME}.csv with the numbers")
    parser.add_argument("--html", action="store_true", help=f"write {_FILE_NAME}.html with figures, one file")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for these files (default: the current one)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the numbers and write what was asked for."""
    space = picture_space(arguments.space)
    pictures, reference, held_out = (
        None if folder is None else measure_folder(find_pictures(folder), space, progress_line(str(folder)))
        for folder in (arguments.folder, arguments.reference, arguments.held_out)
    )
    assert pictures is not None
    names = [path.relative_to(arguments.folder).as_posix() for path in pictures.paths]
    groups = _groups(names)
    distance = arguments.duplicate_distance
    report = measure(
        pictures.features,
        space.tag,
        duplicate_distance=space.duplicate_distance if distance is None else distance,
        groups=groups,
        references=None if reference is None else reference.features,
        held_out=None if held_out is None else held_out.features,
        neighbours=arguments.neighbours,
        metric=arguments.metric,
    )
    unreadable = [file for found in (pictures, reference, held_out) if found is not None for file in found.unreadable]
    sys.stdout.write("\n".join([table(report), *_unreadable_lines(unreadable)]) + "\n")
    for path in _write(arguments, report, pictures, names, groups, unreadable):
        sys.stdout.write(f"Wrote {path}\n")
    return 0


def _write(
    arguments: argparse.Namespace,
    report: DiversityReport,
    pictures: FolderFeatures,
    names: Sequence[str],
    groups: Sequence[str] | None,
    unreadable: Sequence[tuple[Path, str]],
) -> list[Path]:
    """Write the files that were asked for and return their paths."""
    texts: dict[str, str] = {}
    reasons = [(path.as_posix(), reason) for path, reason in unreadable]
    if arguments.json:
        content = {"files": list(names), "unreadable": dict(reasons), "report": to_plain(report)}
        texts["json"] = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    if arguments.csv:
        texts["csv"] = to_csv(report)
    if arguments.html:
        plates = folder_plates(report, pictures.paths, pictures.features, groups)
        texts["html"] = html_page(arguments.folder.resolve().name, report, names, plates, reasons)
    written = []
    for suffix, text in texts.items():
        arguments.output.mkdir(parents=True, exist_ok=True)
        path = arguments.output / f"{_FILE_NAME}.{suffix}"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _groups(names: Sequence[str]) -> list[str] | None:
    """Each picture's subfolder, where there are at least two."""
    folders = [name.rpartition("/")[0] or "." for name in names]
    return folders if len(set(folders)) > 1 else None


def _unreadable_lines(files: Sequence[tuple[Path, str]]) -> list[str]:
    if not files:
        return []
    lines = ["", f"{len(files):,} unreadable files:", *(f"  {path}: {reason}" for path, reason in files[:_LISTED])]
    return [*lines, f"  ... and {len(files) - _LISTED:,} more"] if len(files) > _LISTED else lines
