"""Vendi Guidance (arXiv 2406.04551) as a patch of a MODEL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..guidance.limits import SigmaInterval
from ..guidance.presets import BALANCED, PAPER, PRESETS, Preset, vendi_preset
from ..guidance.repellency.guidance import RECOMMENDED_END
from ..guidance.vendi.guidance import VendiGuidance
from ..guidance.vendi.settings import VendiSettings
from ..stores.bank.snapshot import BankSnapshot
from ..stores.exemplar_set import ExemplarSet
from .common.belonging import check_bank_fits
from .common.options import AS_PRESET, PRESET, Options, check_replacing, choice, count, norm_clip, number, replacing
from .common.sockets import BankSocket, ExemplarSocket, VendiOptionsSocket
from .common.steering import (
    BATCH_AND_BANK,
    SAME_FACE,
    UNLIMITED,
    check_numbers,
    end_input,
    keep_apart_input,
    left_alone,
    start_input,
    steered,
    steered_output,
    steering_schema,
    strength_input,
    unlimited,
)
from .host.conditioning import encoded_prompt
from .host.encoders import (
    LATENTS,
    SPACES_TOOLTIP,
    HostNetworks,
    choose_features,
    spaces,
)
from .host.schema import schema_extras

DEFAULTS = VendiSettings()
OPTIONS_TOOLTIP = "For the options input of Spread Out a Batch."


class DiversityVendiGuidance(io.ComfyNode):
    """Spreads images out from remembered ones and one another, and keeps them near exemplars."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityVendiGuidance",
            display_name="Spread Out a Batch (Vendi Guidance)",
            category="diversity/guidance",
            description="Steers sampling so that the images of a batch differ from one another and from those of a "
            "Memory Bank, and stay close to the images of an Exemplar Set. You choose the features by which images are "
            "compared.",
            inputs=[
                io.Model.Input("model", tooltip="The model to steer. The original stays unchanged."),
                io.Combo.Input(
                    "preset",
                    options=[*PRESETS, PAPER],
                    default=BALANCED,
                    tooltip="How much images differ. subtle: least. strong: more variety, and more images that match "
                    "the prompt less well. Every preset adapts to models with and without CFG. paper: the published "
                    "algorithm (c-VSG), for comparison. It acts in all steps, and away from the bank only.",
                ),
                strength_input(),
                keep_apart_input(),
                io.Combo.Input("features", options=spaces(), default=LATENTS, tooltip=SPACES_TOOLTIP),
                start_input(),
                end_input(RECOMMENDED_END, " The last steps decide details, and pushing there costs quality."),
                BankSocket.Input("bank", optional=True, tooltip="Earlier images to differ from."),
                ExemplarSocket.Input("exemplars", optional=True, tooltip="Real images to stay close to."),
                io.String.Input(
                    "prompt",
                    optional=True,
                    force_input=True,
                    tooltip="The prompt. When connected, only images of the bank with similar prompts count. They must "
                    "have been saved with their prompts.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Decodes estimates for features of images. A TAESD is fastest."
                ),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Needed for the features clip vision."),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="Like prompt, but compares what the text encoder makes of prompts instead of their words. "
                    "The images must have been saved with their conditioning.",
                ),
                VendiOptionsSocket.Input(
                    "options",
                    optional=True,
                    tooltip="Values that replace those of the preset, from Vendi Guidance Options and Vendi Score "
                    "Options.",
                ),
            ],
            **steering_schema(*SAME_FACE, "cads", "c-vsg", "vendi score", "sparke"),
        )

    @classmethod
    def validate_inputs(cls, strength: float | None = None) -> bool:
        """Refuse numbers out of their range before anything runs; what comes along a wire is None here."""
        return check_numbers(DEFAULTS, strength=strength)

    @classmethod
    def execute(
        cls,
        model: Any,
        preset: str,
        strength: float,
        keep_apart: str,
        features: str,
        start_percent: float,
        end_percent: float,
        bank: BankSnapshot | None = None,
        exemplars: ExemplarSet | None = None,
        prompt: str | None = None,
        vae: Any = None,
        clip_vision: Any = None,
        conditioning: Any = None,
        options: Options | None = None,
    ) -> io.NodeOutput:
        """Patch the model, unless there is nothing to differ from and nothing to stay near to.

        Raises:
            ValueError: a number is out of its range, what is wired is of another model, or a network is missing.
        """

        def chosen(distilled: bool) -> Preset[VendiSettings]:
            named = vendi_preset(preset, distilled).changed(**(options or {}))
            if preset != PAPER:
                named = named.changed(in_batch=keep_apart == BATCH_AND_BANK)
            return named.scaled(strength)

        presets = chosen(distilled=False), chosen(distilled=True)
        kinds = [each.settings for each in presets]
        if bank is not None:
            check_bank_fits(bank, model)
            # A bank of which nothing can be read is told of by the run.
            bank = bank if len(bank) or bank.lost else None
        if all(settings.is_off for settings in kinds):
            return left_alone(model, "strength is 0", cls.hidden.unique_id)
        if bank is None and exemplars is None and not any(settings.in_batch for settings in kinds):
            return left_alone(model, "no bank, and keep_apart is bank only", cls.hidden.unique_id)
        make_features = choose_features(features, model, HostNetworks(vae, clip_vision))
        prompts = prompt if conditioning is None else encoded_prompt(conditioning)

        def make(*intervals: SigmaInterval) -> VendiGuidance:
            settings, distilled = (
                # The published algorithm acts all the way.
                kind if preset == PAPER else replace(kind, interval=interval)
                for kind, interval in zip(kinds, intervals, strict=True)
            )
            return VendiGuidance(settings, bank, exemplars, make_features, prompts, distilled)

        return steered_output(
            *steered(
                model,
                make,
                start_percent,
                end_percent,
                VendiGuidance.name,
                cls.hidden.unique_id,
                presets=presets,
                alone=bool(bank),
            )
        )


class DiversityVendiGuidanceOptions(io.ComfyNode):
    """Single values instead of those of a preset of Vendi Guidance."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityVendiGuidanceOptions",
            display_name="Vendi Guidance Options",
            category="diversity/guidance",
            description="For experts: how Vendi Guidance pushes. Values here replace those of its preset.",
            inputs=[
                number(
                    "alpha",
                    10.0,
                    0.05,
                    "Weight of the push away from the bank and from the rest of the batch. Off at 0.",
                ),
                number("beta", 10.0, 0.05, "Weight of the pull towards the exemplars. Off at 0."),
                number(
                    "cfg_easing",
                    10.0,
                    0.05,
                    "How far CFG is lowered for images that repeat others. CFG is what narrows a prompt to one image. "
                    "Any value here also keeps the prompt in the first steps. Off at 0, as published.",
                ),
                count(
                    "frequency",
                    1000,
                    "Re-measures every N steps and reuses the result in between. 1 is every step; larger values save "
                    "time with slow features.",
                ),
                choice(
                    "measure",
                    ["conditional", "guided"],
                    "Which prediction features are taken from. conditional: the one for the prompt alone, which shows "
                    "early where an image is going. guided: the one after CFG. Both are the same at CFG 1.",
                ),
                norm_clip(),
                VendiOptionsSocket.Input(
                    "options",
                    optional=True,
                    tooltip="Other options to combine with these, such as Vendi Score Options.",
                ),
            ],
            outputs=[VendiOptionsSocket.Output("all_options", display_name="options", tooltip=OPTIONS_TOOLTIP)],
            **schema_extras(search_aliases=["alpha", "beta", "c-vsg", "diversity"]),
        )

    @classmethod
    def validate_inputs(
        cls,
        alpha: float | None = None,
        beta: float | None = None,
        cfg_easing: float | None = None,
        frequency: int | None = None,
        norm_clip: float | None = None,
    ) -> bool:
        """Refuse numbers out of their range before anything runs; what comes along a wire is None here."""
        return check_replacing(
            DEFAULTS, alpha=alpha, beta=beta, cfg_easing=cfg_easing, frequency=frequency, norm_clip=norm_clip
        )

    @classmethod
    def execute(
        cls,
        alpha: float = AS_PRESET,
        beta: float = AS_PRESET,
        cfg_easing: float = AS_PRESET,
        frequency: int = int(AS_PRESET),
        measure: str = PRESET,
        norm_clip: float = AS_PRESET,
        options: Options | None = None,
    ) -> io.NodeOutput:
        """Those that are set, and what was wired.

        Raises:
            ValueError: a number is out of its range.
        """
        given = replacing(
            alpha=alpha, beta=beta, cfg_easing=cfg_easing, frequency=frequency, measure=measure, norm_clip=norm_clip
        )
        replace(DEFAULTS, **given)
        return io.NodeOutput({**(options or {}), **given})


class DiversityVendiScoreOptions(io.ComfyNode):
    """What the Vendi Score is taken of, instead of what a preset of Vendi Guidance says."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityVendiScoreOptions",
            display_name="Vendi Score Options",
            category="diversity/guidance",
            description="For experts: how Vendi Guidance measures similarity. Values here replace those of its preset.",
            inputs=[
                choice(
                    "kernel",
                    ["gaussian", "cosine"],
                    "How similarity is computed. gaussian: images that are far apart do not count. cosine: all images "
                    "count, as published.",
                ),
                number(
                    "bandwidth",
                    10.0,
                    0.01,
                    "Width of the gaussian kernel, as a fraction of the distance between unrelated images. At 0 the "
                    "median distance between the images themselves is used.",
                ),
                number(
                    "order",
                    UNLIMITED,
                    0.1,
                    "Order of the Vendi Score: 1 is the usual one. Below 1, rare images count more; "
                    f"{UNLIMITED:g} is infinity, where only the commonest kind counts. 2 is fastest and compares with "
                    "every image of the bank.",
                ),
                count("neighbours", 2000, "How many images of the bank count: the most similar ones."),
                choice(
                    "project",
                    ["on", "off"],
                    "Removes the part of a push that points where the model is going anyway. off: pushes act in full.",
                ),
                VendiOptionsSocket.Input(
                    "options",
                    optional=True,
                    tooltip="Other options to combine with these, such as Vendi Guidance Options.",
                ),
            ],
            outputs=[VendiOptionsSocket.Output("all_options", display_name="options", tooltip=OPTIONS_TOOLTIP)],
            **schema_extras(search_aliases=["vendi score", "kernel", "bandwidth", "diversity"]),
        )

    @classmethod
    def validate_inputs(
        cls, bandwidth: float | None = None, order: float | None = None, neighbours: int | None = None
    ) -> bool:
        """Refuse numbers out of their range before anything runs; what comes along a wire is None here."""
        return check_replacing(DEFAULTS, bandwidth=bandwidth, order=order, neighbours=neighbours)

    @classmethod
    def execute(
        cls,
        kernel: str = PRESET,
        bandwidth: float = AS_PRESET,
        order: float = AS_PRESET,
        neighbours: int = int(AS_PRESET),
        project: str = PRESET,
        options: Options | None = None,
    ) -> io.NodeOutput:
        """Those that are set, and what was wired.

        Raises:
            ValueError: a number is out of its range.
        """
        projects = {"on": True, "off": False}.get(project, project)
        given = replacing(
            kernel=kernel, bandwidth=bandwidth, order=unlimited(order), neighbours=neighbours, project=projects
        )
        replace(DEFAULTS, **given)
        return io.NodeOutput({**(options or {}), **given})
