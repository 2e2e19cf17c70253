"""Protected images in the Diversity Report: what guidance recorded, and comparisons with an index.

Inputs that do not fit together add a sentence to the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...features.space import FeatureSpace
from ...guidance.repellency.protected_distances import features_near, latents_near
from ...guidance.repellency.protection_record import NearestReference, ProtectionRecord
from ...indexing.encoders import FEATURE_SIZE
from ...indexing.sources import Fitted
from ...metrics.figures.batch_figures import GuidedRun
from ...metrics.figures.canvas import to_pil
from ...metrics.measures.protected import ProtectedReport, recorded
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.spaces import FEATURE_PREFIX, feature_space, name_of
from ..common.belonging import check_index_fits
from ..host.latents import plain_latents
from ..host.sampling import to_model_space


@dataclass(frozen=True)
class ImageSet:
    """Images to compare with an index.

    Attributes:
        images: each (C, H, W) in 0..1.
        samples: LATENTs that they were decoded from; empty if unknown.
    """

    images: Sequence[Tensor]
    samples: Sequence[dict[str, Any]]


def recorded_reports(run: GuidedRun | None) -> list[ProtectedReport]:
    """What guidance recorded of each protected index."""
    records = () if run is None else run.trace.records
    return [recorded(record) for record in records if isinstance(record, ProtectionRecord)]


def radius_of(
    index: ProtectedIndex, chosen: float, shields: Sequence[ProtectedReport], duplicate_distance: float
) -> float:
    """The radius inside which an image is reported; 0 if unknown.

    Args:
        index: that is compared.
        chosen: by the user; 0 for none.
        shields: recorded by guidance; for an index of latents.
        duplicate_distance: between near-duplicates; for an index of features.
    """
    if chosen > 0:
        return chosen
    if index.space.startswith(FEATURE_PREFIX):
        return duplicate_distance
    return max((shield.radius for shield in shields), default=0.0)


@dataclass(frozen=True)
class Comparison:
    """A comparison with an index.

    Attributes:
        index: the index.
        model: the MODEL of the samples, for an index of latents; None if unknown.
        space: the report's feature space, for an index of features.
        radius: of the shields, in the units of the model's latents or of the features; 0 if unknown.
    """

    index: ProtectedIndex
    model: Any
    space: FeatureSpace
    radius: float

    def report(self, after: ImageSet, before: ImageSet, notes: list[str]) -> ProtectedReport | None:
        """Compare both sets; None if the first one cannot be compared.

        Args:
            after: the report's images.
            before: its images without guidance; may be empty.
            notes: gets a sentence where something does not fit.
        """
        near = self._near(after, notes)
        if not near:
            return None
        if self.radius <= 0:
            notes.append(
                "The radius of the shields is unknown, so no image is called inside: connect the trace, or set "
                "shield_radius."
            )
        former = self._near(before, notes) if (before.images if self._holds_features else before.samples) else ()
        if not self._holds_features and any("noise_mask" in latent for latent in (*after.samples, *before.samples)):
            notes.append(
                "An inpainting mask held part of the samples. Whole images were compared with the index; only the "
                "trace knows about the part that could change."
            )
        return ProtectedReport(self.index.folder.name, len(self.index), self.radius, near, former)

    @property
    def _holds_features(self) -> bool:
        return self.index.space.startswith(FEATURE_PREFIX)

    def _near(self, given: ImageSet, notes: list[str]) -> tuple[NearestReference, ...]:
        try:
            return self._features_near(given) if self._holds_features else self._latents_near(given)
        except ValueError as error:
            notes.append(str(error))
            return ()

    def _features_near(self, given: ImageSet) -> tuple[NearestReference, ...]:
        if self.index.space != feature_space(self.space.tag):
            raise ValueError(
                f"The protected index {self.index.folder.name} holds {name_of(self.index.space)} and this report "
                f"measures {self.space.tag}: nothing was compared. Choose the features that the index holds."
            )
        # As the index was built: the middle of each image, in one size.
        fitted = Fitted(FEATURE_SIZE, FEATURE_SIZE, self.space)
        features = torch.full((len(given.images), self.space.dimension), torch.nan)
        with torch.no_grad():
            for row, image in enumerate(given.images):
                if bool(image[:3].isfinite().all()):
                    features[row] = self.space(fitted.ready(to_pil([image])[0])[None])[0].cpu()
        return features_near(self.index, features, self.radius)

    def _latents_near(self, given: ImageSet) -> tuple[NearestReference, ...]:
        name = self.index.folder.name
        if not given.samples or self.model is None:
            raise ValueError(
                f"The protected index {name} holds {name_of(self.index.space)}, so it is compared with latents: "
                "connect the report's samples, and the model."
            )
        check_index_fits(self.index, self.model)
        latents = [plain_latents(latent, "The samples") for latent in given.samples]
        return latents_near(self.index, latents, to_model_space(self.model), self.radius)
