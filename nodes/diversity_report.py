"""The Diversity Report of a batch: numbers, a picture of them, and what to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import comfy.model_management
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..features.faces.finder import ImageFaces
from ..guidance.trace import image_headline
from ..metrics.batch import Thumbnails
from ..metrics.comparison import compare_equally_many, sentences
from ..metrics.copies.search import LIMIT
from ..metrics.copies.thumbnails import CopyThumbnails
from ..metrics.faces.same_face import face_sentences, face_verdict, same_face
from ..metrics.figures.batch_figures import (
    MeasuredBatch,
    batch_figures,
    faces_figure,
    first_figure,
    number_rows,
    repeats_figure,
)
from ..metrics.figures.canvas import NODE_WIDTH
from ..metrics.figures.report_sheet import full_width, report_sheet, verdict_card
from ..metrics.known_features import known_features
from ..metrics.measures.bank_duplicates import bank_distances
from ..metrics.measures.protected import GUIDANCE, ProtectedReport
from ..metrics.report import DiversityReport as Report
from ..metrics.report import measure
from ..metrics.serialise import to_csv, to_plain
from ..metrics.summary import repeats_text, table
from ..stores.bank.snapshot import BankSnapshot
from .common.images import to_host
from .common.sockets import BankSocket, NumbersSocket, ReportOptionsSocket, TraceSocket
from .common.traces import RunTraces
from .host.encoders import (
    CLIP_VISION,
    IMAGE_SPACES,
    image_space,
    image_spaces,
)
from .host.messages import VERDICT, face, logger, show
from .host.schema import schema_extras
from .report.faces import ReportFaces
from .report.files import check_prefix, write_report
from .report.inputs import (
    batches_of,
    exemplars_of,
    groups_of,
    guided_run,
    images_of,
)
from .report.options import ReportNumbers, ReportOptions
from .report.progress import ReportProgress
from .report.protected import (
    Comparison,
    ImageSet,
    radius_of,
    recorded_reports,
)
from .report.remembered import newest_ids, previews_of, remembered_features, repeated_sentence

KEY_NUMBERS = (
    "mean_distance",
    "smallest_distance",
    "precision",
    "recall",
    "irs_infinity",
    "irs_infinity_adjusted",
)
"""Measures that Diversity Report Numbers gives."""

WITHOUT_CLIP_VISION = (
    'The features "clip vision" need a CLIP vision model. Connect clip_vision to Report Options, or choose others.'
)

REPEATED = 3
"""Repeated images on the node."""

FIGURES = 10
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
            description="Measures how different images are: numbers, figures, and the batch without the images that "
            "repeat another one.",
            inputs=[
                io.Image.Input("images", tooltip="The images to measure. A list counts as one set; sizes may differ."),
                io.Combo.Input(
                    "features",
                    options=image_spaces(),
                    default=IMAGE_SPACES[0],
                    tooltip="What images are compared by. random network: colours, layout and texture. colour layout: "
                    "colours and where they are. content network: what an image shows. clip vision: the same, needs "
                    "clip_vision. Only numbers of "
                    "the same features can be compared.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How similar images must be to count as near-duplicates. At 1 they are one image encoded "
                    "anew, resized, cropped, mirrored or in other colours; larger values reject more. Off at 0: "
                    "nothing is rejected.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="diversity/report",
                    tooltip="Where the JSON and CSV files are saved, inside the output folder. Empty: no files.",
                ),
                io.Image.Input(
                    "before", optional=True, tooltip="Images to compare with, such as those without guidance."
                ),
                BankSocket.Input(
                    "bank",
                    optional=True,
                    tooltip="Earlier images: how many of them are repeated, and which ones pushed. Connect the bank "
                    "that the sampler used, before these images were saved to it.",
                ),
                TraceSocket.Input(
                    "trace",
                    optional=True,
                    tooltip="What guidance did, from the node that steers the model. Connect samples as well.",
                ),
                io.Latent.Input(
                    "samples", optional=True, tooltip="The latents of the images, for trace and protected images."
                ),
                ReportOptionsSocket.Input(
                    "options",
                    optional=True,
                    tooltip="More to compare with, from Report Options and Report Options for Protected Images.",
                ),
            ],
            outputs=[
                io.Image.Output("report", display_name="report", tooltip="The whole report as one image."),
                io.Image.Output(
                    "kept",
                    display_name="kept",
                    is_output_list=True,
                    tooltip="The images without near-duplicates. Nodes after it are skipped when there are none.",
                ),
                io.Image.Output(
                    "rejected",
                    display_name="rejected",
                    is_output_list=True,
                    tooltip="The images that repeat a kept one, or hold NaN. Nodes after it are skipped when there are "
                    "none.",
                ),
                io.String.Output("text", display_name="text", tooltip="The report in words and numbers."),
                io.Float.Output(
                    "effective_number",
                    display_name="effective number",
                    tooltip="The Vendi Score: the images differ as much as this many images with nothing in common.",
                ),
                NumbersSocket.Output("numbers", tooltip="All other numbers, for Report Numbers."),
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
        options: Sequence[None] | None = None,
    ) -> bool | str:
        """Say what is missing before anything is drawn; what comes along a wire is [None] here."""
        kind, prefix = features[0], filename_prefix[0]
        if kind is not None and kind not in (known := image_spaces()):
            return f'There are no features "{kind}". Choose one of: {", ".join(known)}.'
        if kind == CLIP_VISION and options is None:
            return WITHOUT_CLIP_VISION
        if trace is not None and samples is None:
            return "A trace is found by the samples of its run. Connect samples as well."
        check_prefix(prefix or "report")
        return True

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        features: list[str],
        tolerance: list[float],
        filename_prefix: list[str],
        before: list[Tensor] | None = None,
        trace: list[RunTraces] | None = None,
        samples: list[dict[str, Any]] | None = None,
        bank: list[BankSnapshot] | None = None,
        options: list[Mapping[str, Any]] | None = None,
    ) -> io.NodeOutput:
        """Measure, draw, write and sort; what does not fit becomes a sentence of the report.

        Raises:
            ValueError: the features need a CLIP_VISION and there is none, or it is of an unknown kind.
        """
        notes: list[str] = []
        more = ReportOptions(**(_first(options) or {}))
        if features[0] == CLIP_VISION and not more.clip_vision:
            raise ValueError(WITHOUT_CLIP_VISION)
        space = image_space(features[0], _first(more.clip_vision), comfy.model_management.get_torch_device())
        pictures, earlier = images_of(images), images_of(before)
        real = [*images_of(more.reference), *exemplars_of(more.exemplars)]
        others = images_of(more.held_out)
        memory = _first(bank)
        compared = len(pictures) + len(earlier) + (len(newest_ids(memory)) if memory is not None else 0)
        steps = compared * (2 if more.same_face else 1) + len(real) + len(others) + FIGURES
        progress = ReportProgress(steps, cls.hidden.unique_id)
        faces = ReportFaces.with_progress(progress, notes) if more.same_face else None
        names = groups_of(more.groups or None, images, notes)
        if others and not real:
            notes.append("The held-out images were not used: connect reference images as well.")
        distance = min(tolerance[0] * space.duplicate_distance, 2.0)
        shared = {
            "duplicate_distance": distance,
            "copy_limit": tolerance[0] * LIMIT,
            "references": known_features(real, space, progress.step) if more.reference or more.exemplars else None,
            "held_out": known_features(others, space, progress.step) if more.held_out else None,
            "neighbours": more.neighbours,
        }

        def measured(
            batch: list[Tensor], seen: dict[int, ImageFaces] | None, groups: list[str] | None = None
        ) -> MeasuredBatch:
            found = progress.features(batch, space)
            shown = None if seen is None else same_face(seen, len(batch))
            thumbnails = CopyThumbnails.of(batch)
            report = measure(found, space.tag, thumbnails=thumbnails, faces=shown, groups=groups, **shared)
            return MeasuredBatch(Thumbnails(batch), found, report)

        seen, seen_before = (faces.of(batch) if faces else None for batch in (pictures, earlier))
        after, former = measured(pictures, seen, names), measured(earlier, seen_before) if before else None
        run = None
        if trace and samples:
            run = guided_run(trace[0], samples[0], images_of(images[:1]), memory, notes)
        shields = recorded_reports(run)
        if more.protected:
            reach = radius_of(more.protected[0], more.shield_radius, shields, distance)
            comparison = Comparison(more.protected[0], _first(more.model), space, reach)
            anew = comparison.report(ImageSet(pictures, samples or ()), ImageSet(earlier, more.before_samples), notes)
            shields += [] if anew is None else [anew]
        figures = progress.figures(batch_figures(after, former, names, run, shields), notes)
        told = sentences(after.report, former.report if former else None)
        if former and (equally := compare_equally_many(former.features, after.features)):
            told.append(equally)
        if run is not None:
            told.append(f"Guidance: {run.trace.summary()}")
        told += [sentence for shield in shields if shield.source != GUIDANCE for sentence in shield.sentences()]
        if memory is not None:
            previews = previews_of(memory, newest_ids(memory), notes)
            told.append(repeated_sentence(memory, pictures, previews, tolerance[0] * LIMIT, progress.step))
            remembered = remembered_features(memory, space, notes, progress.step, previews=previews)
            told += filter(None, [bank_distances(after.features, remembered)])
            if faces and seen is not None and len(memory):
                told.append(faces.bank_sentence(seen, previews, len(memory)))
        told += dict.fromkeys(notes)
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
        decided = _verdict(after.report, former and former.report, shields)
        verdict = {"text": decided, "details": "\n".join(told)}
        show(cls.hidden.unique_id, face(verdict))
        inner = full_width(NODE_WIDTH)
        shown = None if former else repeats_figure(after, inner, REPEATED)
        said = f"{repeats_text(after.report).capitalize()}." if shown else told[0]
        if after.report.faces:
            said = " ".join([*[said] * bool(shown or former), *face_sentences(after.report.faces)])
            shown = shown or (None if former else faces_figure(after, inner, REPEATED))
        card = verdict_card(decided, said, (shown or first_figure(after, former, inner)).image, NODE_WIDTH)
        return io.NodeOutput(
            to_host(report_sheet(told, number_rows(after, former), figures)),
            _batches(pictures, kept),
            _batches(pictures, rejected),
            text,
            _number(after.report, "vendi_1"),
            ReportNumbers(
                ", ".join(map(str, kept)),
                ", ".join(map(str, rejected)),
                *(_number(after.report, name) for name in KEY_NUMBERS),
            ),
            ui={**ui.PreviewImage(to_host(card), cls=cls).as_dict(), "text": (text,), VERDICT: [verdict]},
        )


def _first(values: Sequence[Value] | None) -> Value | None:
    return values[0] if values else None


def _verdict(after: Report, former: Report | None, shields: Sequence[ProtectedReport]) -> str:
    """The first line on the node: images that are not outside, or how many differ."""
    if inside := sorted({near.image for shield in shields for near in shield.images if near.inside}):
        return image_headline("NOT outside", inside)
    told = f"{len(after.duplicates.kept)} of {after.images} differ"
    if former is not None:
        told += f" ({len(former.duplicates.kept)} of {former.images} before)"
    shared = face_verdict(after.faces) if after.faces else ""
    if shared and former is not None and former.faces:
        shared += f" ({former.faces.largest:,} of {former.faces.looked_at:,} before)"
    return ", ".join(filter(None, [told, shared]))


def _sorted_out(report: Report) -> tuple[list[int], list[int]]:
    """Indices of what to keep, and of all others."""
    kept = list(report.duplicates.kept)
    return kept, sorted(set(range(report.images)) - set(kept))


def _batches(pictures: Sequence[Tensor], indices: Sequence[int]) -> list[Any]:
    """The chosen pictures for a list socket: the host's own nodes fail on empty batches, so that they are skipped."""
    chosen = batches_of([pictures[index] for index in indices])
    return chosen or [ExecutionBlocker(None)]


def _number(report: Report, name: str) -> float:
    """A measure as a number; NaN where it is not defined or nothing was given to measure it on."""
    value = next((measure.value for measure in report.measures if measure.name == name), None)
    return math.nan if value is None else value
