"""How many images show the same face, as numbers and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...features.faces.finder import ImageFaces
from ..measures.measure import Measure
from ..measures.pairs import Pair
from ..measures.subsample import sample_note
from .groups import LIMIT, face_distances, face_groups

SPACE = "dlib-face-v1"
"""Tag of the space of faces."""

_CLOSEST = 20
_NAMED = 10
_SETS_NAMED = 3


@dataclass(frozen=True)
class SameFace:
    """Which of a set of images show the same face.

    Attributes:
        images: number of images given.
        looked_at: how many of them faces were looked for in; large sets are sampled.
        without_face: indices of images in which none was found.
        too_small: indices of images whose faces are all too small to compare.
        groups: indices of images that share a face, largest set first; each begins with the one in the middle.
        closest: the pairs of images with the closest faces, closest first.
        limit: distance below which two faces are taken for the same.
    """

    images: int
    looked_at: int
    without_face: tuple[int, ...]
    too_small: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    closest: tuple[Pair, ...]
    limit: float

    @property
    def comparable(self) -> int:
        """Number of images with a face that can be compared."""
        return self.looked_at - len(self.without_face) - len(self.too_small)

    @property
    def largest(self) -> int:
        """Number of images that show the same face; 0 if no two do."""
        return len(self.groups[0]) if self.groups else 0


def same_face(found: dict[int, ImageFaces], images: int, limit: float = LIMIT) -> SameFace:
    """Compare the faces of images.

    Args:
        found: the faces of the images that were looked at, by index.
        images: number of images given.
        limit: distance below which two faces are taken for the same.
    """
    rows = [row for row in sorted(found) if len(found[row].vectors)]
    vectors = [found[row].vectors for row in rows]
    empty = [row for row in sorted(found) if not len(found[row].vectors)]
    return SameFace(
        images,
        len(found),
        tuple(row for row in empty if not found[row].too_small),
        tuple(row for row in empty if found[row].too_small),
        tuple(tuple(rows[place] for place in group) for group in face_groups(vectors, limit)),
        tuple(_closest(rows, vectors)),
        limit,
    )


def face_measures(faces: SameFace) -> list[Measure]:
    """The numbers of images with a face, and of those that show the same one."""
    note = sample_note(faces.looked_at, faces.images)
    limit, least = {"distance": faces.limit}, faces.comparable >= 2
    return [
        Measure("images_with_face", faces.comparable, SPACE, faces.looked_at, note=note),
        Measure(
            "same_face_images",
            faces.largest if least else None,
            SPACE,
            faces.looked_at,
            parameters=limit,
            note=note if least else "Two images with a face are needed.",
        ),
    ]


def face_verdict(faces: SameFace) -> str:
    """In a few words: ``6 of 8 show the same face``; "" if no two do."""
    return f"{faces.largest:,} of {faces.looked_at:,} show the same face" if faces.groups else ""


def face_sentences(faces: SameFace, names: Sequence[str] | None = None) -> list[str]:
    """Which images show the same face, and which could not be compared.

    Args:
        faces: of the images.
        names: of the images; None to number them from 0.
    """
    if not faces.looked_at:
        return []
    told: list[str] = []
    count = f"{faces.looked_at:,}"
    if faces.groups:
        told.append(f"{face_verdict(faces)}: {_named(sorted(faces.groups[0]), names)}.")
        others = [f"{len(group):,} share another one: {_named(sorted(group), names)}." for group in faces.groups[1:]]
        told += others[:_SETS_NAMED]
        if len(others) > _SETS_NAMED:
            told.append(f"{len(others) - _SETS_NAMED:,} more sets of images share a face.")
    elif faces.comparable >= 2:
        told.append(f"No two of {faces.comparable:,} images with a face were found to show the same one.")
    if not faces.comparable and not faces.too_small:
        told.append(f"No face was found in any of {count} images.")
    elif faces.without_face:
        told.append(
            f"No face was found in {len(faces.without_face):,} of {count}: {_named(faces.without_face, names)}."
        )
    if faces.too_small:
        told.append(
            f"Faces are too small to compare in {len(faces.too_small):,} of {count}: {_named(faces.too_small, names)}."
        )
    if faces.looked_at < faces.images:
        told.append(f"Faces were looked for in a random choice of {count} of {faces.images:,} images.")
    return told


def bank_faces(found: dict[int, ImageFaces], remembered: Sequence[ImageFaces], held: int, limit: float = LIMIT) -> str:
    """Which images show a face of a Memory Bank.

    Args:
        found: the faces of the images, by index.
        remembered: the faces of the previews that were compared.
        held: number of images that the bank holds.
        limit: distance below which two faces are taken for the same.
    """
    rows = [row for row in sorted(found) if len(found[row].vectors)]
    known = [faces.vectors for faces in remembered if len(faces.vectors)]
    told = "Faces of the bank: "
    if rows and known:
        near = (face_distances([found[row].vectors for row in rows], known) < limit).any(1).tolist()
        shown = [row for row, close in zip(rows, near, strict=True) if close]
        told += (
            f"{len(shown):,} of {len(found):,} images show one of them: {_named(shown, None)}."
            if shown
            else f"none was found in the {len(rows):,} images with a face."
        )
    else:
        told += "there was nothing to compare."
    return (
        f"{told} {len(known):,} of the {held:,} images of the bank were compared: those with a preview in which a face "
        "is large enough."
    )


def _closest(rows: Sequence[int], vectors: Sequence[Tensor]) -> list[Pair]:
    distances = face_distances(vectors, vectors)
    upper = distances.new_ones(distances.shape).triu(1).bool()
    values, order = distances[upper].sort()
    pairs = upper.nonzero()[order[:_CLOSEST]].tolist()
    return [Pair(rows[i], rows[j], value) for (i, j), value in zip(pairs, values.tolist(), strict=False)]


def _named(rows: Sequence[int], names: Sequence[str] | None) -> str:
    called = [f"image {row}" if names is None else names[row] for row in rows[:_NAMED]]
    return ", ".join(called) + (f", and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else "")
