"""Vendi Guidance (arXiv 2406.04551) as a patch of a MODEL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from comfy_api.latest import io

from ..guidance.limits import Cap, SigmaInterval
from ..guidance.repellency.guidance import RECOMMENDED_END
from ..guidance.vendi.guidance import VendiGuidance
from ..guidance.vendi.settings import VendiSettings
from ..stores.bank.snapshot import BankSnapshot, check_latent_format
from ..stores.exemplar_set import ExemplarSet
from .common.sockets import BankSocket, ExemplarSocket
from .common.steering import (
    UNLIMITED,
    cap_inputs,
    check_numbers,
    interval_inputs,
    limited,
    steered,
    steered_outputs,
    unlimited,
)
from .common.traces import RunTraces
from .host.conditioning import encoded_prompt
from .host.encoders import (
    LATENTS,
    SPACES_TOOLTIP,
    HostNetworks,
    choose_features,
    spaces,
)
from .host.sampling import latent_format_name
from .host.schema import advanced, schema_extras

DEFAULTS = VendiSettings()
PAPER = "paper"


class DiversityVendiGuidance(io.ComfyNode):
    """Spreads pictures out from remembered ones and one another, and keeps them near exemplars."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityVendiGuidance",
            display_name="Spread Out a Batch (Vendi Guidance)",
            category="diversity/guidance",
            description="Steers sampling so that the pictures of a batch differ from one another and from those of a "
            "Memory Bank, measured in features of your choice, and stay near the pictures of an Exemplar Set.",
            inputs=[
                io.Model.Input("model", tooltip="The model to steer; the one that comes in stays as it is."),
                io.Combo.Input(
                    "preset",
                    options=["custom", PAPER],
                    default="custom",
                    tooltip="custom: the widgets below. paper: the published algorithm (c-VSG), for comparison; then "
                    "only features and what is wired count.",
                ),
                io.Float.Input(
                    "strength",
                    default=DEFAULTS.strength,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Length of a full push, as a fraction of the typical distance between unrelated pictures. "
                    "No pushes at 0.",
                ),
                io.Float.Input(
                    "alpha",
                    default=DEFAULTS.alpha,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="Weight of the push away from the bank and from the rest of the batch. Disabled at 0.",
                ),
                io.Float.Input(
                    "beta",
                    default=DEFAULTS.beta,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="Weight of the pull towards the exemplars. Disabled at 0.",
                ),
                io.Float.Input(
                    "relaxation",
                    default=DEFAULTS.relaxation,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How far CFG, which narrows a prompt to one picture, is eased for pictures that repeat "
                    "others. Disabled at 0, as published. No difference at CFG 1.",
                ),
                io.Combo.Input("features", options=spaces(), default=LATENTS, tooltip=SPACES_TOOLTIP),
                *interval_inputs(RECOMMENDED_END, ": the last steps decide details, and pushing there costs quality"),
                io.Int.Input(
                    "frequency",
                    default=DEFAULTS.frequency,
                    min=1,
                    max=1000,
                    tooltip="Measure at every how manieth step; in between, what was found holds. 1 is every step; "
                    "more saves time with costly features.",
                ),
                io.Boolean.Input(
                    "in_batch",
                    default=DEFAULTS.in_batch,
                    tooltip="Whether the pictures of a batch are pushed apart. No effect on a batch of one.",
                ),
                advanced(
                    io.Combo.Input,
                    "kernel",
                    options=["gaussian", "cosine"],
                    default=DEFAULTS.kernel,
                    tooltip="How similar two pictures are: gaussian forgets pictures that are far apart, cosine, as "
                    "published, sees all of them.",
                ),
                advanced(
                    io.Float.Input,
                    "bandwidth",
                    default=DEFAULTS.bandwidth,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Width of the gaussian kernel, as a fraction of the distance of unrelated features. 0 "
                    "takes the median distance of the pictures themselves.",
                ),
                advanced(
                    io.Float.Input,
                    "order",
                    default=DEFAULTS.order,
                    min=0.1,
                    max=UNLIMITED,
                    step=0.1,
                    tooltip=f"Of the Vendi Score: below 1 counts rare pictures fully, {UNLIMITED:g} (infinity) only "
                    "the commonest kind. 2 is quickest and compares with every picture of the bank.",
                ),
                advanced(
                    io.Combo.Input,
                    "measure",
                    options=["conditional", "guided"],
                    default=DEFAULTS.measure,
                    tooltip="Of which prediction features are taken: of what the prompt alone predicts, which works "
                    "while the picture is being decided, or of the guided one. No difference at CFG 1.",
                ),
                advanced(
                    io.Int.Input,
                    "neighbours",
                    default=DEFAULTS.neighbours,
                    min=1,
                    max=2000,
                    tooltip="How many pictures of the bank, the most similar ones, the score is taken of.",
                ),
                advanced(
                    io.Boolean.Input,
                    "project",
                    default=DEFAULTS.project,
                    tooltip="Leave out the part of a push along what the model is doing anyway.",
                ),
                *cap_inputs(DEFAULTS.cap),
                BankSocket.Input("bank", optional=True, tooltip="Pictures of the past to differ from."),
                ExemplarSocket.Input("exemplars", optional=True, tooltip="Real pictures to stay near to."),
                io.String.Input(
                    "prompt",
                    optional=True,
                    force_input=True,
                    tooltip="What is drawn. Wired, only remembered pictures of similar prompts count; the bank must "
                    "remember its prompts.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="Decodes for features of pictures; a TAESD is quickest."),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="For the features clip vision."),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="As prompt, by what the model's text encoder makes of it instead of by words; it "
                    "must have been wired into Save to Memory Bank, too.",
                ),
            ],
            outputs=steered_outputs(),
            hidden=[io.Hidden.unique_id],
            # Two equal nodes must not share one record of what they did.
            not_idempotent=True,
            **schema_extras(
                search_aliases=[
                    "same face",
                    "same picture",
                    "all images look alike",
                    "variety",
                    "variation",
                    "different",
                    "unique",
                    "mode collapse",
                    "seed variance",
                    "cads",
                    "c-vsg",
                    "vendi score",
                    "sparke",
                    "diversity",
                ]
            ),
        )

    @classmethod
    def validate_inputs(
        cls,
        strength: float | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        relaxation: float | None = None,
        bandwidth: float | None = None,
        order: float | None = None,
    ) -> bool | str:
        """Say what is wrong with numbers before anything runs; what comes along a wire is None here."""
        return check_numbers(
            DEFAULTS,
            strength=strength,
            alpha=alpha,
            beta=beta,
            relaxation=relaxation,
            bandwidth=bandwidth,
            order=order,
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        preset: str,
        strength: float,
        alpha: float,
        beta: float,
        relaxation: float,
        features: str,
        start_percent: float,
        end_percent: float,
        frequency: int,
        in_batch: bool,
        kernel: Literal["gaussian", "cosine"] = DEFAULTS.kernel,
        bandwidth: float = DEFAULTS.bandwidth,
        order: float = DEFAULTS.order,
        measure: Literal["conditional", "guided"] = DEFAULTS.measure,
        neighbours: int = DEFAULTS.neighbours,
        project: bool = DEFAULTS.project,
        cap_update: float = limited(DEFAULTS.cap.update),
        cap_estimate: float = limited(DEFAULTS.cap.estimate),
        bank: BankSnapshot | None = None,
        exemplars: ExemplarSet | None = None,
        prompt: str | None = None,
        vae: Any = None,
        clip_vision: Any = None,
        conditioning: Any = None,
    ) -> io.NodeOutput:
        """Patch the model, unless there is nothing to differ from and nothing to stay near to.

        Raises:
            ValueError: a number is out of its range, what is wired is of another model, or a network is missing.
        """
        settings = VendiSettings(
            alpha=alpha,
            beta=beta,
            strength=strength,
            relaxation=relaxation,
            order=unlimited(order),
            kernel=kernel,
            bandwidth=bandwidth,
            measure=measure,
            frequency=frequency,
            neighbours=neighbours,
            in_batch=in_batch,
            project=project,
            cap=Cap(unlimited(cap_update), unlimited(cap_estimate)),
        )
        if preset == PAPER:
            settings = VendiSettings.paper()
        if bank is not None:
            check_latent_format(bank.name, bank.latent_format, latent_format_name(model))
            bank = bank if len(bank) else None
        if settings.is_off or (bank is None and exemplars is None and not settings.in_batch):
            return io.NodeOutput(model, RunTraces())
        make_features = choose_features(features, model, HostNetworks(vae, clip_vision))
        drawn_from = prompt if conditioning is None else encoded_prompt(conditioning)

        def make(interval: SigmaInterval) -> VendiGuidance:
            # The published algorithm acts all the way.
            chosen = settings if preset == PAPER else replace(settings, interval=interval)
            return VendiGuidance(chosen, bank, exemplars, make_features, drawn_from)

        return io.NodeOutput(
            *steered(model, make, start_percent, end_percent, VendiGuidance.name, cls.hidden.unique_id)
        )
