"""``diversity-guidance report FOLDER``: measure folders of any size, with progress and in bounded memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..features.faces.finder import FaceFinder
from ..features.image_folder import FoundFiles, find_images, printable
from ..features.named import CLIP_PREFIX, SPACE_NAMES, image_space
from .comparison import compare_equally_many, sentences
from .faces.collect import folder_faces
from .faces.same_face import SameFace, same_face
from .figures.folder_figures import folder_figures
from .measured_folder import FolderFeatures, measure_folder
from .measures.early_rejection import check_claim, outlook
from .measures.irs import COVERAGE_CLAIM
from .measures.neighbours import ReferenceIndex
from .measures.retrieval import ERROR
from .page import html_page
from .progress import progress_line
from .report import NEIGHBOURS, DiversityReport, check_settings, measure
from .serialise import to_csv, to_plain
from .summary import table

_FILE_NAME = "diversity-report"
_LISTED = 10


class LeftOut(NamedTuple):
    """Entries that a report does not cover: names and reasons.

    Attributes:
        unreadable: image files that cannot be read.
        passed_over: everything else in the folders.
    """

    unreadable: list[tuple[str, str]]
    passed_over: list[tuple[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("folder", type=Path, help="images to be measured, subfolders included")
    parser.add_argument("--reference", type=Path, help="real images to compare with, such as a training set")
    parser.add_argument(
        "--held-out", type=Path, help="further real images, for the Image Retrieval Score relative to real ones"
    )
    parser.add_argument("--before", type=Path, help="images to compare with, such as the same prompts without guidance")
    parser.add_argument(
        "--space",
        default=SPACE_NAMES[0],
        help=f"feature space: {', '.join(SPACE_NAMES)} or {CLIP_PREFIX}FOLDER of a model of open_clip or transformers "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--neighbours", type=int, default=NEIGHBOURS, help="for precision and recall (default: %(default)s)"
    )
    parser.add_argument(
        "--duplicate-distance",
        type=float,
        help="tell near-duplicates by this distance in the feature space, 0 to 2 (default: by the images themselves)",
    )
    parser.add_argument(
        "--same-face",
        action="store_true",
        help="say which images show the same face; docs/same_face.md says how often that is wrong",
    )
    parser.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean", help="for retrieval")
    early = parser.add_argument_group(
        "while images are still being made", "These say only whether to stop. The exit code is 1 for stop."
    )
    early.add_argument(
        "--reject",
        action="store_true",
        help="stop if the images, in the order of their names, cannot reach enough of the references",
    )
    early.add_argument("--planned", type=int, help="images to be made in all (default: as many as there are)")
    early.add_argument(
        "--claim", type=float, default=COVERAGE_CLAIM, help="share of the references to reach (default: %(default)s)"
    )
    early.add_argument(
        "--certainty", type=float, default=1 - ERROR, help="with which stop is said (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help=f"write {_FILE_NAME}.json with everything")
    parser.add_argument("--csv", action="store_true", help=f"write {_FILE_NAME}.csv with the numbers")
    parser.add_argument("--html", action="store_true", help=f"write {_FILE_NAME}.html with figures, one file")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for these files (default: the current one)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the requested files, and print the numbers.

    Raises:
        ValueError: an option is out of range, the output folder cannot be made, or the weights of the networks of faces
            are missing; nothing was measured then.
    """
    check_settings(arguments.duplicate_distance, arguments.neighbours)
    if arguments.reject:
        return _reject(arguments)
    if arguments.json or arguments.csv or arguments.html:
        _make_folder(arguments.output)
    space = image_space(arguments.space)
    finder = FaceFinder() if arguments.same_face else None
    given = (arguments.folder, arguments.reference, arguments.held_out, arguments.before)
    folders = [None if folder is None else find_images(folder) for folder in given]
    distance = arguments.duplicate_distance
    images, reference, held_out, earlier = (
        None
        if folder is None
        else measure_folder(
            folder.paths, space, progress_line(printable(str(folder.root))), thumbnails=distance is None and shown
        )
        for folder, shown in zip(folders, (True, False, False, True), strict=True)
    )
    assert images is not None and folders[0] is not None
    groups = _groups(folders[0].names())

    def measured(folder: FolderFeatures, groups: Sequence[str] | None) -> DiversityReport:
        return measure(
            folder.features,
            space.tag,
            duplicate_distance=space.duplicate_distance if distance is None else distance,
            thumbnails=folder.thumbnails,
            faces=None if finder is None else _faces(folder, finder),
            groups=groups,
            references=None if reference is None else reference.features,
            held_out=None if held_out is None else held_out.features,
            neighbours=arguments.neighbours,
            metric=arguments.metric,
        )

    report = measured(images, groups)
    compared: list[str] = []
    if earlier is not None and folders[3] is not None:
        compared = sentences(report, measured(earlier, None), folders[0].names(), folders[3].names())
        compared += filter(None, [compare_equally_many(earlier.features, images.features)])
    read = [each for each in (images, reference, held_out, earlier) if each is not None]
    unreadable = [(printable(path.as_posix()), reason) for each in read for path, reason in each.unreadable]
    passed_over = [entry for folder in folders if folder is not None for entry in folder.passed_over_below()]
    left_out = LeftOut(unreadable, passed_over)
    # Files first: a console that cannot print a name must not lose a measurement.
    try:
        written = _write(arguments, report, folders[0], images.features, groups, left_out, compared)
    finally:
        sys.stdout.write(
            "\n".join([*compared, *[""] * bool(compared), table(report, folders[0].names()), *_lines(left_out)]) + "\n"
        )
    for path in written:
        sys.stdout.write(f"Wrote {path}\n")
    return 0


def _faces(folder: FolderFeatures, finder: FaceFinder) -> SameFace:
    """Which images of a folder show the same face."""
    found = folder_faces(folder.paths, finder, progress_line("Faces"))
    return same_face(found, len(folder.paths))


def _reject(arguments: argparse.Namespace) -> int:
    """Say whether to stop, and return 1 for stop."""
    check_claim(arguments.claim, 1 if arguments.planned is None else arguments.planned, 1 - arguments.certainty)
    if arguments.reference is None:
        raise ValueError("What is to be reached? Give real images with --reference.")
    space = image_space(arguments.space)

    def features(folder: Path) -> Tensor:
        found = measure_folder(find_images(folder).paths, space, progress_line(printable(str(folder)))).features
        return found[found.isfinite().all(1)]

    index = ReferenceIndex(references := features(arguments.reference), arguments.metric)
    retrieved = index.nearest(features(arguments.folder))
    told = outlook(
        retrieved,
        len(references),
        len(retrieved) if arguments.planned is None else arguments.planned,
        arguments.claim,
        1 - arguments.certainty,
        None if arguments.held_out is None else index.nearest(features(arguments.held_out)),
    )
    sys.stdout.write(f"{told.sentence}\n")
    return int(told.stop)


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The report cannot be written to {printable(str(output))}: {error.strerror}.") from error


def _write(
    arguments: argparse.Namespace,
    report: DiversityReport,
    folder: FoundFiles,
    features: Tensor,
    groups: Sequence[str] | None,
    left_out: LeftOut,
    compared: Sequence[str],
) -> list[Path]:
    """Write the requested files and return their paths."""
    texts: dict[str, str] = {}
    names = folder.names()
    if arguments.json:
        content = {"files": names, **{kind: dict(files) for kind, files in left_out._asdict().items()}}
        content["report"] = to_plain(report)
        if compared:
            content["compared"] = list(compared)
        texts["json"] = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    if arguments.csv:
        texts["csv"] = to_csv(report)
    if arguments.html:
        figures, thumbnails = folder_figures(report, folder.paths, features, groups)
        title = printable(arguments.folder.resolve().name)
        texts["html"] = html_page(
            title, report, names, figures, thumbnails, left_out.unreadable, left_out.passed_over, compared
        )
    written = []
    for suffix, text in texts.items():
        path = arguments.output / f"{_FILE_NAME}.{suffix}"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _groups(names: Sequence[str]) -> list[str] | None:
    """Each image's subfolder, if there are at least two."""
    folders = [name.rpartition("/")[0] or "." for name in names]
    return folders if len(set(folders)) > 1 else None


def _lines(left_out: LeftOut) -> list[str]:
    lines: list[str] = []
    for title, files in (("unreadable files", left_out.unreadable), ("passed over", left_out.passed_over)):
        if files:
            lines += ["", f"{len(files):,} {title}:", *(f"  {name}: {reason}" for name, reason in files[:_LISTED])]
            lines += [f"  ... and {len(files) - _LISTED:,} more"] * (len(files) > _LISTED)
    return lines
