"""Stop sampling as soon as it is certain that the references will not be reached (arXiv 2411.16171, figure 7)."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ...metrics.known_features import known_features
from ...metrics.measures.early_rejection import outlook
from ...metrics.measures.irs import COVERAGE_CLAIM
from ...metrics.measures.neighbours import ReferenceIndex
from ...metrics.measures.retrieval import ERROR
from ...stores.bank.snapshot import BankSnapshot
from ...stores.exemplar_set import ExemplarSet
from ..common.sockets import BankSocket, ExemplarSocket
from ..host.encoders import CLIP_VISION, IMAGE_SPACES, image_space, image_spaces
from ..host.messages import VERDICT, face, logger, show
from ..host.schema import schema_extras
from .inputs import exemplars_of, images_of
from .progress import ReportProgress
from .remembered import remembered_features

SKIP, SAY = "skip sampling", "only say so"

WITHOUT_REFERENCES = "There is nothing to reach: connect reference or exemplars."

WITHOUT_CLIP_VISION = 'The features "clip vision" need a CLIP vision model. Connect clip_vision, or choose others.'


class DiversityStopEarly(io.ComfyNode):
    """Says that sampling on is in vain, and skips it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityStopEarly",
            display_name="Stop Early (coverage cannot be reached)",
            category="diversity/measure",
            description="Compares all images of a Memory Bank with real ones, and stops sampling over all further "
            "queues once it is certain that enough of them cannot be reached.",
            inputs=[
                BankSocket.Input(
                    "bank",
                    tooltip="All images so far, of one model and one prompt. Connect Load Memory Bank, and save every "
                    "batch to the same bank.",
                ),
                io.Combo.Input(
                    "features",
                    options=image_spaces(),
                    default=IMAGE_SPACES[0],
                    tooltip="What images are compared by. Features that were saved with the bank are used; otherwise "
                    "its previews are measured.",
                ),
                io.Float.Input(
                    "coverage",
                    default=COVERAGE_CLAIM,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the real images to reach: those that are the nearest one of some image. 0.8 is "
                    "usual.",
                ),
                io.Int.Input(
                    "planned",
                    default=200,
                    min=1,
                    max=100_000,
                    tooltip="How many images are to be made in all, over all queues. More of them are not counted. "
                    "Choose it before the first queue and keep it: the certainty holds for one plan.",
                ),
                io.Float.Input(
                    "certainty",
                    default=1 - ERROR,
                    min=0.5,
                    max=0.999,
                    step=0.005,
                    tooltip="With which certainty stop is said. Higher values stop later. 0.95 is usual.",
                ),
                io.Combo.Input(
                    "when_certain",
                    options=[SKIP, SAY],
                    default=SKIP,
                    tooltip="skip sampling: the model is held back, and every node after it is skipped. only say so: "
                    "nothing is skipped.",
                ),
                io.Model.Input("model", optional=True, tooltip="Connect it on to the sampler that is to be skipped."),
                io.Image.Input("reference", optional=True, tooltip="Real images to reach, such as a training set."),
                ExemplarSocket.Input("exemplars", optional=True, tooltip="The images of an Exemplar Set to reach."),
                io.Image.Input(
                    "held_out",
                    optional=True,
                    tooltip="More real images, none of them among the references. The coverage is then a share of what "
                    "these reach: not even real images reach everything.",
                ),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Needed for the features clip vision."),
            ],
            outputs=[
                io.Model.Output(
                    "guarded_model", display_name="model", tooltip="The model, or nothing once stop is certain."
                ),
                io.Boolean.Output("stop", tooltip="Whether it is certain that the coverage cannot be reached."),
                io.String.Output("text", tooltip="The decision and its reason."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            **schema_extras(
                search_aliases=[
                    "early rejection",
                    "irs",
                    "coverage",
                    "retrieval",
                    "mode collapse",
                    "abort",
                    "diversity",
                ]
            ),
        )

    @classmethod
    def validate_inputs(cls, features: str | None = None) -> bool | str:
        """Say what is unknown before anything is sampled."""
        if features is not None and features not in (known := image_spaces()):
            return f'There are no features "{features}". Choose one of: {", ".join(known)}.'
        return True

    @classmethod
    def execute(
        cls,
        bank: BankSnapshot,
        features: str,
        coverage: float,
        planned: int,
        certainty: float,
        when_certain: str,
        model: Any = None,
        reference: Tensor | None = None,
        exemplars: ExemplarSet | None = None,
        held_out: Tensor | None = None,
        clip_vision: Any = None,
    ) -> io.NodeOutput:
        """Compare the bank with the references.

        Raises:
            ValueError: there are no references, or the features need a CLIP_VISION and there is none.
        """
        if features == CLIP_VISION and clip_vision is None:
            raise ValueError(WITHOUT_CLIP_VISION)
        space = image_space(features, clip_vision, comfy.model_management.get_torch_device())
        real = [
            *images_of(None if reference is None else [reference]),
            *exemplars_of(None if exemplars is None else [exemplars]),
        ]
        others = images_of(None if held_out is None else [held_out])
        progress = ReportProgress(len(real) + len(others) + min(len(bank), planned), cls.hidden.unique_id)
        notes: list[str] = []
        references = _finite(known_features(real, space, progress.step))
        if not len(references):
            raise ValueError(WITHOUT_REFERENCES)
        index = ReferenceIndex(references)
        remembered = _finite(remembered_features(bank, space, notes, progress.step, first=planned))
        found = outlook(
            index.nearest(remembered) if len(remembered) else Tensor(),
            len(references),
            planned,
            coverage,
            1 - certainty,
            index.nearest(_finite(known_features(others, space, progress.step))) if others else None,
        )
        text = " ".join([found.sentence, *notes])
        logger.info("Stop Early (node %s): %s", cls.hidden.unique_id, text)
        verdict = {"text": found.headline, "details": text}
        show(cls.hidden.unique_id, face(verdict))
        held_back = found.stop and when_certain == SKIP
        return io.NodeOutput(
            ExecutionBlocker(None) if held_back or model is None else model,
            found.stop,
            text,
            ui={"text": (text,), VERDICT: [verdict]},
        )


def _finite(features: Tensor) -> Tensor:
    return features[features.isfinite().all(1)]
