"""The Diversity Report of a batch: numbers, a picture of them, and what to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import comfy.model_management
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..metrics.batch import Thumbnails
from ..metrics.comparison import sentences
from ..metrics.figures.batch_figures import (
    MeasuredBatch,
    batch_plates,
    number_rows,
    opening_plate,
)
from ..metrics.figures.canvas import NODE_WIDTH
from ..metrics.figures.report_sheet import full_width, report_sheet
from ..metrics.measures.bank_duplicates import novelty
from ..metrics.measures.protected import GUIDANCE
from ..metrics.report import NEIGHBOURS, measure
from ..metrics.report import DiversityReport as Report
from ..metrics.serialise import to_csv, to_plain
from ..metrics.summary import table
from ..stores.bank.snapshot import BankSnapshot
from ..stores.exemplar_set import ExemplarSet
from ..stores.protected.index import ProtectedIndex
from .common.images import to_host
from .common.sockets import (
    BankSocket,
    ExemplarSocket,
    IndexSocket,
    TraceSocket,
)
from .common.traces import RunTraces
from .host.encoders import (
    CLIP_VISION,
    PICTURE_SPACES,
    picture_space,
    picture_spaces,
)
from .host.messages import logger, show
from .host.schema import advanced, schema_extras
from .report.files import check_prefix, write_report
from .report.inputs import (
    exemplars_of,
    groups_of,
    guided_run,
    images_of,
    pictures_of,
    remembered_features,
)
from .report.progress import ReportProgress
from .report.protected import (
    Comparison,
    Drawn,
    radius_of,
    recorded_reports,
)

KEY_NUMBERS = (
    "vendi_1",
    "mean_distance",
    "smallest_distance",
    "precision",
    "recall",
    "irs_infinity",
    "irs_infinity_adjusted",
)
"""Measures that have a socket of their own."""

FIGURES = 8
"""Figures of a report at most, for the progress bar."""

Value = TypeVar("Value")


class DiversityReport(io.ComfyNode):
    """Measures how much pictures differ, and sorts out those that repeat others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityReport",
            display_name="Measure Variety (Diversity Report)",
            category="diversity/measure",
            description="How different are these pictures? Numbers with what they were computed on, figures, and the "
            "batch without the pictures that repeat another one.",
            inputs=[
                io.Image.Input("images", tooltip="The pictures. A list, also of different sizes, counts as one set."),
                io.Combo.Input(
                    "features",
                    options=picture_spaces(),
                    default=PICTURE_SPACES[0],
                    tooltip="What alike means. random network: colours, layout and texture. colour layout: colours and "
                    "where they are. clip vision: what a picture shows, needs clip_vision. Compare numbers of the "
                    "same features only.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How alike pictures must be to be near-duplicates: 1 is what most people call the same "
                    "picture, more rejects more. Nothing is rejected at 0.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="diversity/report",
                    tooltip="Where JSON and CSV go inside the output folder. No files when empty.",
                ),
                advanced(
                    io.Int.Input,
                    "neighbours",
                    default=NEIGHBOURS,
                    min=1,
                    max=1000,
                    tooltip="For precision and recall, which need more pictures and references than this.",
                ),
                io.Image.Input("before", optional=True, tooltip="Pictures to compare with, such as without guidance."),
                io.Image.Input("reference", optional=True, tooltip="Real pictures, such as a training set."),
                io.Image.Input(
                    "held_out",
                    optional=True,
                    tooltip="Further real pictures that are none of the references: retrieval relative to theirs.",
                ),
                ExemplarSocket.Input("exemplars", optional=True, tooltip="Real pictures, added to the references."),
                BankSocket.Input(
                    "bank",
                    optional=True,
                    tooltip="Remembered pictures: which ones are repeated, and which pushed. The bank that the "
                    "sampler had, before these pictures were remembered.",
                ),
                TraceSocket.Input(
                    "trace", optional=True, tooltip="What guidance did. Wire samples and model along with it."
                ),
                io.Latent.Input(
                    "samples", optional=True, tooltip="What the images were decoded from, for the trace and protected."
                ),
                io.Model.Input("model", optional=True, tooltip="What drew the samples, for the trace and protected."),
                io.String.Input(
                    "groups",
                    optional=True,
                    force_input=True,
                    tooltip="For numbers of each group, such as a prompt: one line a picture, or one text a batch.",
                ),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="For the features clip vision."),
                IndexSocket.Input(
                    "protected",
                    optional=True,
                    tooltip="Pictures that must not be drawn again: which one is nearest to each picture, and which "
                    "pictures are inside a shield. An index of latents needs samples and model.",
                ),
                io.Latent.Input(
                    "before_samples",
                    optional=True,
                    tooltip="What before was decoded from, to be compared with protected pictures too.",
                ),
                advanced(
                    io.Float.Input,
                    "shield_radius",
                    default=0.0,
                    min=0.0,
                    max=1e6,
                    step=0.1,
                    tooltip="Radius around protected pictures, in the units of the model's latents like the "
                    "absolute_radius of Sparse Repellency. At 0 the one that the trace tells; for an index of "
                    "features, the distance of near-duplicates.",
                ),
            ],
            outputs=[
                io.Image.Output("report", display_name="report", tooltip="The whole report as one picture."),
                io.Image.Output(
                    "kept",
                    display_name="kept",
                    is_output_list=True,
                    tooltip="The pictures without near-duplicates. What follows is skipped when there are none.",
                ),
                io.Image.Output(
                    "rejected",
                    display_name="rejected",
                    is_output_list=True,
                    tooltip="Pictures that repeat a kept one, or hold no numbers. What follows is skipped when there "
                    "are none.",
                ),
                io.String.Output(
                    "kept_indices", display_name="kept indices", tooltip="Their places in the batch, from 0: 0, 2, 5."
                ),
                io.String.Output(
                    "rejected_indices", display_name="rejected indices", tooltip="Theirs. Empty when there are none."
                ),
                io.String.Output("text", display_name="text", tooltip="The report in words and numbers."),
                io.Float.Output(
                    "effective_number",
                    display_name="effective number",
                    tooltip="The pictures are as different as so many that have nothing in common (Vendi Score).",
                ),
                io.Float.Output(
                    "mean_distance",
                    display_name="mean distance",
                    tooltip="Of two pictures: 0 the same, 1.4 unrelated. Does not grow with the batch. NaN below two.",
                ),
                io.Float.Output(
                    "smallest_distance", display_name="smallest distance", tooltip="Of two pictures. NaN below two."
                ),
                io.Float.Output(
                    "precision", display_name="precision", tooltip="Share that looks real. NaN without references."
                ),
                io.Float.Output(
                    "recall", display_name="recall", tooltip="Share of references in reach. NaN without references."
                ),
                io.Float.Output(
                    "irs_infinity",
                    display_name="IRS infinity",
                    tooltip="Share of references that endless sampling would retrieve. NaN without references.",
                ),
                io.Float.Output(
                    "irs_infinity_adjusted",
                    display_name="IRS infinity adjusted",
                    tooltip="The same relative to held_out. NaN without it.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            is_input_list=True,
            **schema_extras(
                search_aliases=[
                    "duplicate",
                    "repeat",
                    "unique",
                    "novelty",
                    "different",
                    "variety",
                    "similarity",
                    "filter",
                    "vendi score",
                    "irs",
                    "mode collapse",
                    "diversity",
                ]
            ),
        )

    @classmethod
    def validate_inputs(
        cls,
        features: Sequence[str | None],
        filename_prefix: Sequence[str | None],
        trace: Sequence[None] | None = None,
        samples: Sequence[None] | None = None,
        model: Sequence[None] | None = None,
        clip_vision: Sequence[None] | None = None,
    ) -> bool | str:
        """Say what is missing before anything is drawn; what comes along a wire is [None] here."""
        kind, prefix = features[0], filename_prefix[0]
        if kind is not None and kind not in (known := picture_spaces()):
            return f'There are no features "{kind}". Choose one of: {", ".join(known)}.'
        if kind == CLIP_VISION and clip_vision is None:
            return 'The features "clip vision" need a CLIP vision model. Wire clip_vision, or choose others.'
        if trace is not None and (samples is None or model is None):
            return "A trace is looked up by what was drawn. Wire the samples and the model along with it."
        try:
            check_prefix(prefix or "report")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        features: list[str],
        tolerance: list[float],
        filename_prefix: list[str],
        neighbours: list[int] | None = None,
        before: list[Tensor] | None = None,
        reference: list[Tensor] | None = None,
        held_out: list[Tensor] | None = None,
        exemplars: list[ExemplarSet] | None = None,
        bank: list[BankSnapshot] | None = None,
        trace: list[RunTraces] | None = None,
        samples: list[dict[str, Any]] | None = None,
        model: list[Any] | None = None,
        groups: list[str] | None = None,
        clip_vision: list[Any] | None = None,
        protected: list[ProtectedIndex] | None = None,
        before_samples: list[dict[str, Any]] | None = None,
        shield_radius: list[float] | None = None,
    ) -> io.NodeOutput:
        """Measure, draw, write and sort; what does not fit becomes a sentence of the report.

        Raises:
            ValueError: the CLIP_VISION is of an unknown kind.
        """
        notes: list[str] = []
        space = picture_space(features[0], _first(clip_vision), comfy.model_management.get_torch_device())
        pictures, earlier = pictures_of(images), pictures_of(before)
        real = [*pictures_of(reference), *exemplars_of(exemplars)]
        others = pictures_of(held_out)
        progress = ReportProgress(len(pictures) + len(earlier) + len(real) + len(others) + FIGURES)
        names = groups_of(groups, images, notes)
        if others and not real:
            notes.append("The held-out pictures were not used: wire references, from which pictures are retrieved.")
        distance = min(tolerance[0] * space.duplicate_distance, 2.0)
        shared = {
            "duplicate_distance": distance,
            "references": progress.features(real, space) if reference or exemplars else None,
            "held_out": progress.features(others, space) if held_out else None,
            "neighbours": neighbours[0] if neighbours else NEIGHBOURS,
        }

        def measured(batch: list[Tensor], groups: list[str] | None = None) -> MeasuredBatch:
            found = progress.features(batch, space)
            return MeasuredBatch(Thumbnails(batch), found, measure(found, space.tag, groups=groups, **shared))

        after, former = measured(pictures, names), measured(earlier) if before else None
        memory, run = _first(bank), None
        if trace and samples and model:
            run = guided_run(trace[0], samples[0], model[0], pictures_of(images[:1]), memory, notes)
        shields = recorded_reports(run)
        if protected:
            reach = radius_of(protected[0], _first(shield_radius) or 0.0, shields, distance)
            comparison = Comparison(protected[0], _first(model), space, reach)
            anew = comparison.report(Drawn(pictures, samples or ()), Drawn(earlier, before_samples or ()), notes)
            shields += [] if anew is None else [anew]
        plates = progress.drawn(batch_plates(after, former, names, run, shields), notes)
        told = sentences(after.report, former.report if former else None)
        if run is not None:
            told.append(f"Guidance: {run.trace.summary()}")
        told += [sentence for shield in shields if shield.source != GUIDANCE for sentence in shield.sentences()]
        if memory is not None:
            told.append(novelty(after.features, remembered_features(memory, space, notes, progress.step), distance))
        told += notes
        kept, rejected = _sorted_out(after.report)
        written = ""
        if filename_prefix[0]:
            content = {
                "summary": told,
                "kept": kept,
                "rejected": rejected,
                "report": to_plain(after.report),
                "before": to_plain(former.report) if former else None,
                "protected": [to_plain(shield) for shield in shields],
            }
            written = write_report(filename_prefix[0], content, to_csv(after.report))
        text = "\n\n".join(
            filter(None, ["\n".join(told), table(after.report), *(shield.table() for shield in shields), written])
        )
        logger.info("Diversity Report (node %s): %s", cls.hidden.unique_id, " ".join(told))
        show(cls.hidden.unique_id, "\n".join(told))
        opening = opening_plate(after, former, full_width(NODE_WIDTH))
        card = report_sheet(told[:1], [], [replace(opening, wide=True)], NODE_WIDTH)
        return io.NodeOutput(
            to_host(report_sheet(told, number_rows(after, former), plates)),
            _batches(pictures, kept),
            _batches(pictures, rejected),
            ", ".join(map(str, kept)),
            ", ".join(map(str, rejected)),
            text,
            *(_number(after.report, name) for name in KEY_NUMBERS),
            ui={**ui.PreviewImage(to_host(card), cls=cls).as_dict(), "text": (text,)},
        )


def _first(values: Sequence[Value] | None) -> Value | None:
    return values[0] if values else None


def _sorted_out(report: Report) -> tuple[list[int], list[int]]:
    """Indices of what to keep, and of all others."""
    kept = list(report.duplicates.kept)
    return kept, sorted(set(range(report.pictures)) - set(kept))


def _batches(pictures: Sequence[Tensor], indices: Sequence[int]) -> list[Any]:
    """The chosen pictures for a list socket: the host's own nodes fail on empty batches, so that they are skipped."""
    chosen = images_of([pictures[index] for index in indices])
    return chosen or [ExecutionBlocker(None)]


def _number(report: Report, name: str) -> float:
    """A measure as a number; NaN where it is not defined or nothing was given to measure it on."""
    value = next((measure.value for measure in report.measures if measure.name == name), None)
    return math.nan if value is None else value
