"""Protected pictures beside those of the Diversity Report: what guidance recorded, and an index compared anew.

As everywhere in the report, what does not fit becomes a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...features.space import FeatureSpace
from ...guidance.repellency.nearness import features_near, latents_near
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
class Drawn:
    """One of the two sets of the report.

    Attributes:
        pictures: each (C, H, W) in 0 to 1.
        samples: LATENTs that they were decoded from; none where they are not wired.
    """

    pictures: Sequence[Tensor]
    samples: Sequence[dict[str, Any]]


def recorded_reports(run: GuidedRun | None) -> list[ProtectedReport]:
    """What guidance recorded of every index that it kept away from."""
    return (
        []
        if run is None
        else [recorded(record) for record in run.trace.records if isinstance(record, ProtectionRecord)]
    )


def radius_of(
    index: ProtectedIndex, chosen: float, shields: Sequence[ProtectedReport], duplicate_distance: float
) -> float:
    """The radius by which a picture is called inside; 0 where none is known.

    Args:
        index: whose shields they are.
        chosen: by the user, 0 for none.
        shields: recorded by guidance, whose radius is that of an index of latents.
        duplicate_distance: of near-duplicates, which is that of an index of features.
    """
    if chosen > 0:
        return chosen
    if index.space.startswith(FEATURE_PREFIX):
        return duplicate_distance
    return max((shield.radius for shield in shields), default=0.0)


@dataclass(frozen=True)
class Comparison:
    """How an index is compared.

    Attributes:
        index: the index.
        model: the MODEL that drew the samples, which an index of latents needs; None where it is not wired.
        space: feature space of the report, which an index of features needs.
        radius: of the shields, in the units of the model's latents or of the features; 0 where none is known.
    """

    index: ProtectedIndex
    model: Any
    space: FeatureSpace
    radius: float

    def report(self, after: Drawn, before: Drawn, notes: list[str]) -> ProtectedReport | None:
        """Compare both sets; None where the first one cannot be.

        Args:
            after: the pictures.
            before: those to compare with, empty where there are none.
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
        former = self._near(before, notes) if (before.pictures if self._holds_features else before.samples) else ()
        if not self._holds_features and any("noise_mask" in latent for latent in (*after.samples, *before.samples)):
            notes.append(
                "An inpainting mask held part of the samples. Whole images were compared with the index; only the "
                "trace knows about the part that could change."
            )
        return ProtectedReport(self.index.folder.name, len(self.index), self.radius, near, former)

    @property
    def _holds_features(self) -> bool:
        return self.index.space.startswith(FEATURE_PREFIX)

    def _near(self, drawn: Drawn, notes: list[str]) -> tuple[NearestReference, ...]:
        try:
            return self._features_near(drawn) if self._holds_features else self._latents_near(drawn)
        except ValueError as error:
            notes.append(str(error))
            return ()

    def _features_near(self, drawn: Drawn) -> tuple[NearestReference, ...]:
        if self.index.space != feature_space(self.space.tag):
            raise ValueError(
                f"The protected index {self.index.folder.name} holds {name_of(self.index.space)} and this report "
                f"measures {self.space.tag}: nothing was compared. Choose the features that the index holds."
            )
        # As the index was built: the middle of each picture, in one size.
        fitted = Fitted(FEATURE_SIZE, FEATURE_SIZE, self.space)
        features = torch.full((len(drawn.pictures), self.space.dimension), torch.nan)
        with torch.no_grad():
            for row, picture in enumerate(drawn.pictures):
                if bool(picture[:3].isfinite().all()):
                    features[row] = self.space(fitted.ready(to_pil([picture])[0])[None])[0].cpu()
        return features_near(self.index, features, self.radius)

    def _latents_near(self, drawn: Drawn) -> tuple[NearestReference, ...]:
        name = self.index.folder.name
        if not drawn.samples or self.model is None:
            raise ValueError(
                f"The protected index {name} holds {name_of(self.index.space)}, so it is compared with latents: "
                "connect the report's samples, and the model."
            )
        check_index_fits(self.index, self.model)
        latents = [plain_latents(latent, "The samples") for latent in drawn.samples]
        return latents_near(self.index, latents, to_model_space(self.model), self.radius)
