"""``diversity-guidance bench faces FOLDER``: how often two people are taken for one, and one person for two."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch import Tensor

from ...features.faces.finder import FaceFinder
from ...indexing.bank.previews import SIDE
from ...metrics.faces.groups import LIMIT, face_groups
from ...metrics.progress import progress_line
from ..copies.alterations import ALTERATIONS, scaled
from ..summary import markdown_table
from .photographs import Photograph, measured, people

LIMITS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65)
BATCH = 8
_BATCHES = 2000

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    **ALTERATIONS,
    "at a third of the size": lambda image: scaled(image, 1 / 3, 1 / 3),
    f"preview of {SIDE} pixels": lambda image: scaled(image, *2 * (min(1.0, SIDE / max(image.size)),)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument(
        "folder",
        type=Path,
        help="photographs, a subfolder for each person; with folders of such folders, each of them is a group",
    )
    parser.add_argument("--limit", type=float, default=LIMIT, help="distance of the same face (default: %(default)s)")
    parser.add_argument(
        "--altered", type=int, default=100, help="photographs that are altered in each way (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the tables.

    Raises:
        ValueError: there are no photographs of two people.
    """
    given, finder = people(arguments.folder), FaceFinder()
    found = measured(given, finder, progress=progress_line("faces", "photographs"))
    with_face = [each for each in found if each.vector is not None]
    if len(with_face) < 2:
        raise ValueError("No two photographs show a face that is large enough.")
    out = sys.stdout.write
    persons = len({each.person for each in found})
    out(f"{len(found):,} photographs of {persons:,} people; no face was found in {len(found) - len(with_face):,}.\n\n")
    head = ("different people, called the same", "same person, missed")
    out(markdown_table(("limit", *head), [(f"{limit:.2f}", *errors(with_face, with_face, limit)) for limit in LIMITS]))
    out("\n\n")
    limit = arguments.limit
    rows = [(name, *errors(part, part, limit)) for name, part in parts(with_face).items()]
    out(markdown_table((f"at {limit:g}, among", *head), rows) + "\n\n")
    out(f"{batches(with_face, limit)}\n\n")
    chosen = random.Random(0).sample(range(len(given)), min(arguments.altered, len(given)))
    rows = []
    for name, change in CHANGES.items() if chosen else ():
        altered = measured([given[number] for number in chosen], finder, change)
        seen = [each for each in altered if each.vector is not None]
        found_in = f"{len(chosen) - len(seen)} of {len(chosen)}"
        rows.append((name, found_in, *errors(seen, with_face, limit), own_missed(seen, with_face, limit)))
        sys.stderr.write(f"{name}\n")
    if rows:
        out(markdown_table(("one of the two altered", "no face found", *head, "itself, missed"), rows) + "\n")
    return 0


def errors(first: Sequence[Photograph], second: Sequence[Photograph], limit: float) -> tuple[str, str]:
    """How many pairs of different people are called the same, and of different photographs of one person are not.

    Args:
        first: photographs with a face.
        second: the same ones, each pair of which is counted once, or others.
        limit: distance of the same face.
    """
    if not first or not second:
        return "–", "–"
    pairs = _equal([each.path for each in first], [each.path for each in second]).logical_not()
    if first is second:
        pairs = pairs.triu(1)
    person = _equal([each.person for each in first], [each.person for each in second])
    near = torch.cdist(_vectors(first), _vectors(second)) < limit
    same, apart = person & pairs, ~person & pairs
    return share(int((near & apart).sum()), int(apart.sum())), share(int((~near & same).sum()), int(same.sum()))


def own_missed(altered: Sequence[Photograph], originals: Sequence[Photograph], limit: float) -> str:
    """How many altered photographs do not show the same face as they did before."""
    if not altered:
        return "–"
    own = _equal([each.path for each in altered], [each.path for each in originals])
    near = torch.cdist(_vectors(altered), _vectors(originals)) < limit
    return share(int((own & ~near).sum()), int(own.sum()))


def _vectors(photographs: Sequence[Photograph]) -> Tensor:
    return torch.stack([each.vector for each in photographs if each.vector is not None])


def _equal(first: Sequence[object], second: Sequence[object]) -> Tensor:
    """Whether entries are equal, (len(first), len(second))."""
    numbers = {entry: number for number, entry in enumerate(dict.fromkeys([*first, *second]))}
    left, right = (torch.tensor([numbers[entry] for entry in each]) for each in (first, second))
    return left[:, None] == right


def share(count: int, total: int) -> str:
    """``3 of 1,200 (0.25 %)``."""
    if not total:
        return "–"
    percent = 100 * count / total
    return f"{count:,} of {total:,} ({percent:{'.2g' if percent < 99 else '.0f'}} %)"


def parts(found: Sequence[Photograph]) -> dict[str, Sequence[Photograph]]:
    """All photographs, those of every group, and thirds of the people by the median lightness of their skin."""
    made: dict[str, Sequence[Photograph]] = {"all": found}
    groups = sorted({each.group for each in found})
    if len(groups) > 1:
        made |= {group or ".": [each for each in found if each.group == group] for group in groups}
    lightness: dict[str, list[float]] = {}
    for each in found:
        lightness.setdefault(each.person, []).append(each.lightness)
    persons = sorted(lightness, key=lambda person: median(lightness[person]))
    for third, name in enumerate(("darkest", "middle", "lightest")):
        chosen = set(persons[third * len(persons) // 3 : (third + 1) * len(persons) // 3])
        made[f"{name} third of people"] = [each for each in found if each.person in chosen]
    return made


def batches(found: Sequence[Photograph], limit: float) -> str:
    """What the report says of batches of different people, and of all photographs of one person."""
    by_person: dict[str, list[torch.Tensor]] = {}
    for each in found:
        if each.vector is not None:
            by_person.setdefault(each.person, []).append(each.vector[None])
    chance = random.Random(0)
    told = ""
    if len(by_person) >= BATCH:
        wrong = sum(
            bool(
                face_groups([chance.choice(by_person[name]) for name in chance.sample(sorted(by_person), BATCH)], limit)
            )
            for _ in range(_BATCHES)
        )
        told = (
            f"Two or more of {BATCH} different people are said to be one in {share(wrong, _BATCHES)} random batches. "
        )
    many = [faces for faces in by_person.values() if len(faces) >= 4]
    if many:
        largest = sum(max((len(group) for group in face_groups(faces, limit)), default=1) for faces in many)
        told += (
            f"Of all photographs of one person, {share(largest, sum(map(len, many)))} are in the largest set: "
            f"people with four or more, {len(many)} in all."
        )
    return told.strip()
