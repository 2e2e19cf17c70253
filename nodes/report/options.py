"""Nodes for further inputs and outputs of the Diversity Report: real and protected images, and all its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...metrics.report import NEIGHBOURS
from ...stores.exemplar_set import ExemplarSet
from ...stores.protected.index import ProtectedIndex
from ..common.sockets import ExemplarSocket, IndexSocket, NumbersSocket, ReportOptionsSocket
from ..host.schema import schema_extras


@dataclass(frozen=True)
class ReportOptions:
    """The inputs of the options nodes; lists where sockets take lists."""

    reference: Sequence[Tensor] = ()
    held_out: Sequence[Tensor] = ()
    exemplars: Sequence[ExemplarSet] = ()
    groups: Sequence[str] = ()
    clip_vision: Sequence[Any] = ()
    neighbours: int = NEIGHBOURS
    protected: Sequence[ProtectedIndex] = ()
    model: Sequence[Any] = ()
    before_samples: Sequence[dict[str, Any]] = ()
    shield_radius: float = 0.0
    same_face: bool = False


@dataclass(frozen=True)
class ReportNumbers:
    """Indices and measures of a report; undefined measures are NaN."""

    kept_indices: str
    rejected_indices: str
    mean_distance: float
    smallest_distance: float
    precision: float
    recall: float
    irs_infinity: float
    irs_infinity_adjusted: float


class DiversityReportOptions(io.ComfyNode):
    """Real images, groups and other features for the Diversity Report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityReportOptions",
            display_name="Report Options",
            category="diversity/measure",
            description="For experts: real images to compare with, groups of images, and a vision model to compare "
            "images by.",
            inputs=[
                io.Image.Input(
                    "reference", optional=True, tooltip="Real images to compare with, such as a training set."
                ),
                io.Image.Input(
                    "held_out",
                    optional=True,
                    tooltip="More real images, none of them among the references. Retrieval is also given relative to "
                    "theirs.",
                ),
                ExemplarSocket.Input(
                    "exemplars", optional=True, tooltip="The images of an Exemplar Set, added to the references."
                ),
                io.String.Input(
                    "groups",
                    optional=True,
                    force_input=True,
                    tooltip="The group of each image, such as its prompt, for numbers per group: one line per image, "
                    "or one text per batch.",
                ),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Needed for the features clip vision."),
                io.Int.Input(
                    "neighbours",
                    optional=True,
                    default=NEIGHBOURS,
                    min=1,
                    max=1000,
                    tooltip="How many nearest neighbours precision and recall use. They need more images and "
                    f"references than this. The default is {NEIGHBOURS}.",
                ),
                ReportOptionsSocket.Input(
                    "options",
                    optional=True,
                    tooltip="Other options to combine with these, such as those for protected images.",
                ),
                io.Boolean.Input(
                    "same_face",
                    optional=True,
                    default=False,
                    tooltip="Say which images show the same face. It compares faces of photographs and of images like "
                    "them, and errs now and then; faces of illustrations are mostly not found. No image is rejected "
                    "for it. Off: faces are not looked for.",
                ),
            ],
            outputs=[_options_output()],
            is_input_list=True,
            **schema_extras(
                search_aliases=["precision", "recall", "clip", "groups", "real images", "face", "identity", "diversity"]
            ),
        )

    @classmethod
    def execute(
        cls, neighbours: Sequence[int] = (), options: Any = None, same_face: Sequence[bool] = (), **given: Any
    ) -> io.NodeOutput:
        """Collect the connected and set options."""
        settings = {"neighbours": neighbours, "same_face": same_face}
        chosen = {name: values[0] for name, values in settings.items() if values}
        return io.NodeOutput({**_first(options), **_given(given), **chosen})


class DiversityReportProtectionOptions(io.ComfyNode):
    """Protected images for the Diversity Report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityReportProtectionOptions",
            display_name="Report Options for Protected Images",
            category="diversity/measure",
            description="For experts: a Protected Index to compare the report's images with.",
            inputs=[
                IndexSocket.Input(
                    "protected",
                    tooltip="Images that must never be generated. The report says which one is nearest to each image, "
                    "and which images are inside a shield. An index of latents needs the report's samples and model.",
                ),
                io.Model.Input(
                    "model", optional=True, tooltip="The model that made the samples, for an index of latents."
                ),
                io.Latent.Input(
                    "before_samples",
                    optional=True,
                    tooltip="The latents of the report's before, to compare them with protected images as well.",
                ),
                io.Float.Input(
                    "shield_radius",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=1e6,
                    step=0.1,
                    tooltip="Radius around protected images, in units of the model's latents like absolute_radius of "
                    "Sparse Repellency. At 0 the radius of the trace is used, or for an index of features the distance "
                    "of near-duplicates.",
                ),
                ReportOptionsSocket.Input(
                    "options",
                    optional=True,
                    tooltip="Other options to combine with these, such as those for real images.",
                ),
            ],
            outputs=[_options_output()],
            is_input_list=True,
            **schema_extras(search_aliases=["protect", "shield", "copyright", "memorization", "diversity"]),
        )

    @classmethod
    def execute(cls, shield_radius: Sequence[float] = (), options: Any = None, **given: Any) -> io.NodeOutput:
        """Collect the connected and set options."""
        radius = {"shield_radius": shield_radius[0]} if shield_radius else {}
        return io.NodeOutput({**_first(options), **_given(given), **radius})


class DiversityReportNumbers(io.ComfyNode):
    """The numbers of a Diversity Report, one socket each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityReportNumbers",
            display_name="Report Numbers",
            category="diversity/measure",
            description="Every number of a Diversity Report, and which images it kept and rejected.",
            inputs=[NumbersSocket.Input("numbers", tooltip="The numbers of Measure Variety.")],
            outputs=[
                io.String.Output(
                    "kept_indices",
                    display_name="kept indices",
                    tooltip="Numbers of the kept images in the batch, counted from 0, such as 0, 2, 5.",
                ),
                io.String.Output(
                    "rejected_indices",
                    display_name="rejected indices",
                    tooltip="Numbers of the rejected images in the batch. Empty when there are none.",
                ),
                io.Float.Output(
                    "mean_distance",
                    display_name="mean distance",
                    tooltip="Mean distance of two images: 0 for the same, 1.4 for unrelated ones. NaN for fewer than "
                    "two.",
                ),
                io.Float.Output(
                    "smallest_distance",
                    display_name="smallest distance",
                    tooltip="Smallest distance of two images. NaN for fewer than two.",
                ),
                io.Float.Output(
                    "precision",
                    display_name="precision",
                    tooltip="Share of the images that look real. NaN without references.",
                ),
                io.Float.Output(
                    "recall",
                    display_name="recall",
                    tooltip="Share of the references that the images reach. NaN without references.",
                ),
                io.Float.Output(
                    "irs_infinity",
                    display_name="IRS infinity",
                    tooltip="Share of the references that endless sampling would retrieve. NaN without references.",
                ),
                io.Float.Output(
                    "irs_infinity_adjusted",
                    display_name="IRS infinity adjusted",
                    tooltip="IRS infinity relative to that of held_out. NaN without it.",
                ),
            ],
            **schema_extras(search_aliases=["indices", "precision", "recall", "irs", "distance", "diversity"]),
        )

    @classmethod
    def execute(cls, numbers: ReportNumbers) -> io.NodeOutput:
        """Give out the numbers in order."""
        return io.NodeOutput(*(getattr(numbers, field.name) for field in fields(numbers)))


def _options_output() -> io.Output:
    return ReportOptionsSocket.Output(
        "all_options", display_name="options", tooltip="For the options input of Measure Variety."
    )


def _first(values: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    return values[0] if values else {}


def _given(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
