"""Photographs of known people, and the lightness of their skin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ...features.faces.alignment import square
from ...features.faces.finder import FaceFinder
from ...features.image_files import as_tensor, read_image
from ...features.image_folder import find_images

_MIDDLE = 0.4  # side of the middle of a face, relative to its box
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear sRGB (IEC 61966-2-1)


@dataclass(frozen=True)
class Photograph:
    """The largest face of a photograph.

    Attributes:
        person: whom it shows.
        path: of the file.
        group: the folder of the person's folder; "" if there is none.
        vector: of the face, (128,); None if no face was found that is large enough.
        lightness: CIE L* of the middle of the face, 0 to 100; NaN without a face.
    """

    person: str
    path: Path
    group: str
    vector: Tensor | None
    lightness: float


def people(folder: Path) -> list[tuple[str, str, Path]]:
    """Person, group and file of every photograph in FOLDER/PERSON or FOLDER/GROUP/PERSON.

    Raises:
        ValueError: there are no two people.
    """
    found = []
    for path in find_images(folder).paths:
        *groups, person = path.relative_to(folder).parent.parts or ("",)
        found.append((person, "/".join(groups), path))
    if len({person for person, *_ in found if person}) < 2:
        raise ValueError(f"{folder} needs a subfolder for each of two people or more, with their photographs in it.")
    return [entry for entry in found if entry[0]]


def measured(
    photographs: Sequence[tuple[str, str, Path]],
    finder: FaceFinder,
    change: Callable[[Image.Image], Image.Image] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Photograph]:
    """The faces of photographs, in order.

    Args:
        photographs: person, group and file of each.
        finder: of faces.
        change: what is done to each before.
        progress: called after every one.
    """
    found = []
    for done, (person, group, path) in enumerate(photographs, 1):
        image = read_image(path)
        pixels = as_tensor(image if change is None else change(image))
        faces = finder(pixels)
        if len(faces.vectors):
            found.append(Photograph(person, path, group, faces.vectors[0], lightness(pixels, faces.boxes[0])))
        else:
            found.append(Photograph(person, path, group, None, float("nan")))
        if progress is not None:
            progress(done, len(photographs))
    return found


def lightness(image: Tensor, box: Tensor) -> float:
    """CIE L* of the middle of a face, 0 to 100: that of skin under the light of the photograph."""
    middle = square(image, (box[:2] + box[2:]) / 2, _MIDDLE * float((box[2:] - box[:2]).amax()), 32).flatten(1)
    linear = torch.where(middle <= 0.04045, middle / 12.92, ((middle + 0.055) / 1.055) ** 2.4)
    luminance = float((torch.tensor(_LUMINANCE) @ linear).median())
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance
