"""Which images share a face, by the distances of faces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LIMIT = 0.5
"""Distance below which two faces are taken for the same. docs/same_face.md says how often that is wrong."""


def face_distances(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Distance of the closest faces of every two images, (m, n); infinity where an image has no face.

    Args:
        first: the faces of each of m images, (faces, d); none of them for an image without faces.
        second: of each of n images.
    """
    (faces, rows), (others, columns) = _flat(first), _flat(second)
    nearest = _to_images(faces, others, columns, len(second))
    found = torch.full((len(first), len(second)), torch.inf)
    return found.scatter_reduce_(0, rows[:, None].expand(-1, len(second)), nearest, "amin")


def face_groups(faces: Sequence[Tensor], limit: float = LIMIT) -> list[list[int]]:
    """Sets of images that share a face with one image of the set, largest first; an image is in one set at most.

    The face to which most images are close is found, then the one to which most of the others are. So every image of a
    set was compared with the same face: chains of faces, each a little like the one before, do not grow.

    Args:
        faces: of each image, (n, d).
        limit: of the distance.

    Returns:
        The indices of sets of two and more images: first the image with the face in the middle, then the others in
        order.
    """
    each, images = _flat(faces)
    if not len(each):
        return []
    distances = _to_images(each, each, images, len(faces))
    distances[torch.arange(len(each)), images] = 0.0
    near = distances < limit
    groups: list[list[int]] = []
    while True:
        counts = near.sum(1)
        best = int(counts.amax())
        if best < 2:
            return groups
        level = torch.nonzero(counts == best).flatten()
        spread = torch.where(near[level], distances[level], 0.0).sum(1)
        middle = int(level[spread.argmin()])
        members, own = torch.nonzero(near[middle]).flatten().tolist(), int(images[middle])
        groups.append([own, *(image for image in members if image != own)])
        near[:, members] = False
        near[torch.isin(images, torch.tensor(members))] = False


def _flat(faces: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All faces (f, d), and the image of each (f,)."""
    images = [image for image, each in enumerate(faces) for _ in range(len(each))]
    each = [vectors for vectors in faces if len(vectors)]
    return torch.cat(each) if each else torch.zeros(0, 1), torch.tensor(images, dtype=torch.int64)


def _to_images(faces: Tensor, others: Tensor, images: Tensor, count: int) -> Tensor:
    """Distance of faces (f, d) to the closest of the others (g, d) in each of so many images, (f, count)."""
    found = torch.full((len(faces), count), torch.inf)
    if not len(others) or not len(faces):
        return found
    return found.scatter_reduce_(1, images.expand(len(faces), -1), torch.cdist(faces, others), "amin")
