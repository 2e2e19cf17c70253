"""The faces of the report's images and of a Memory Bank's previews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import comfy.model_management
from torch import Tensor

from ...features.faces.finder import FaceFinder, ImageFaces
from ...metrics.faces.collect import MAX_IMAGES, batch_faces
from ...metrics.faces.same_face import SPACE, bank_faces
from ...metrics.known_features import known
from .progress import ReportProgress


class ReportFaces:
    """Looks for faces, with progress.

    Args:
        finder: of faces.
        progress: of the report, a step for every image.
    """

    def __init__(self, finder: FaceFinder, progress: ReportProgress) -> None:
        self._finder = finder
        self._progress = progress

    @classmethod
    def with_progress(cls, progress: ReportProgress, notes: list[str]) -> ReportFaces | None:
        """The networks on the host's device; None and a note where their weights are missing."""
        try:
            return cls(FaceFinder(comfy.model_management.get_torch_device()), progress)
        except ValueError as error:
            notes.append(str(error))
            return None

    def of(self, images: Sequence[Tensor]) -> dict[int, ImageFaces]:
        """The faces of images (C, H, W), by index."""
        return batch_faces(images, self._finder, self._progress.step)

    def bank_sentence(self, found: dict[int, ImageFaces], previews: Mapping[str, Tensor], held: int) -> str:
        """Which images show a face of a bank.

        Args:
            found: the faces of the images, by index.
            previews: of the bank's newest images, oldest first.
            held: number of images that the bank holds.
        """
        newest = list(previews.values())[-MAX_IMAGES:]
        return bank_faces(found, list(known(newest, SPACE, self._finder, self._progress.step)), held)
