"""Sparse Repellency (arXiv 2410.06025) as a patch of a MODEL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..guidance.limits import SigmaInterval
from ..guidance.presets import BALANCED, PRESETS, Preset, repellency_preset
from ..guidance.references import ImageReferences, ReferenceSource
from ..guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings, SparseRepellency
from ..guidance.similar_prompts import RunPrompt
from ..stores.bank.snapshot import BankSnapshot
from ..stores.protected.index import ProtectedIndex
from .common.belonging import check_bank_fits, check_index_fits
from .common.options import AS_PRESET, PRESET, Options, check_replacing, choice, norm_clip, number, replacing
from .common.sockets import BankSocket, IndexSocket, RepellencyOptionsSocket
from .common.steering import (
    BATCH_AND_BANK,
    SAME_FACE,
    check_numbers,
    end_input,
    keep_apart_input,
    left_alone,
    start_input,
    steered,
    steered_output,
    steering_schema,
    strength_input,
)
from .host.conditioning import encoded_prompt
from .host.latents import plain_latents
from .host.schema import schema_extras

DEFAULTS = RepellencySettings()

START, PROMPT, ENCODED = "start_percent", "prompt", "encoded"
"""Among the options, those that are no settings."""

SIMILAR = 0.5
"""Similarity of prompts from which on images count, once a prompt is connected: half the words are the same."""


class DiversitySparseRepellency(io.ComfyNode):
    """Keeps images out of shields around remembered images and around one another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversitySparseRepellency",
            display_name="Keep Images Apart (Sparse Repellency)",
            category="diversity/guidance",
            description="Steers sampling so that every image keeps a distance from the others of its batch, from the "
            "images of a Memory Bank or a Protected Index, and from images to avoid. Images that are far enough apart "
            "are left alone.",
            inputs=[
                io.Model.Input("model", tooltip="The model to steer. The original stays unchanged."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=BALANCED,
                    tooltip="How far apart images are kept. subtle: only near-duplicates are moved. strong: more "
                    "variety, and more images that match the prompt less well. Every preset adapts to models with and "
                    "without CFG.",
                ),
                strength_input(),
                keep_apart_input(),
                end_input(RECOMMENDED_END, " The last steps decide details, and pushing there costs quality."),
                io.Boolean.Input(
                    "ensure_outside",
                    default=DEFAULTS.ensure_outside,
                    tooltip="Moves finished images until none is closer than the radius to another, whatever that does "
                    "to them. Off: finished images are not changed.",
                ),
                io.Int.Input(
                    "target",
                    default=DEFAULTS.target,
                    optional=True,
                    min=0,
                    max=4096,
                    tooltip="How many images of the batch should differ clearly, from one another and from everything "
                    "connected here. How hard to push is found during the run, and only as many images are pushed as "
                    "are missing. With one image and a bank, 1 asks for an image that differs from the bank. Off at 0.",
                ),
                BankSocket.Input("bank", optional=True, tooltip="Earlier images to keep away from."),
                io.Latent.Input("avoid", optional=True, tooltip="More images to keep away from, as latents."),
                IndexSocket.Input(
                    "protected",
                    optional=True,
                    tooltip="Images that must never be generated, up to millions. Switch on ensure_outside: without it "
                    "nothing guarantees that finished images are outside their radius.",
                ),
                RepellencyOptionsSocket.Input(
                    "options",
                    optional=True,
                    tooltip="Values that replace those of the preset, and where in the schedule guidance starts, from "
                    "Sparse Repellency Options.",
                ),
            ],
            **steering_schema(*SAME_FACE, "repeat", "avoid", "spell", "shielded diffusion"),
        )

    @classmethod
    def validate_inputs(cls, strength: float | None = None, target: int | None = None) -> bool:
        """Refuse numbers out of their range before anything runs; what comes along a wire is None here."""
        return check_numbers(DEFAULTS, strength=strength, target=target)

    @classmethod
    def execute(
        cls,
        model: Any,
        preset: str,
        strength: float,
        keep_apart: str,
        end_percent: float,
        ensure_outside: bool,
        target: int = DEFAULTS.target,
        bank: BankSnapshot | None = None,
        avoid: dict[str, Any] | None = None,
        protected: ProtectedIndex | None = None,
        options: Options | None = None,
    ) -> io.NodeOutput:
        """Patch the model, unless there is nothing to keep away from.

        Raises:
            ValueError: a number is out of its range, or images to keep away from are of another model.
        """
        in_batch = keep_apart == BATCH_AND_BANK
        values = dict(options or {})
        start_percent = values.pop(START, 0.0)
        run_prompt = RunPrompt(values.pop(PROMPT, None), values.pop(ENCODED, None))

        def chosen(distilled: bool) -> Preset[RepellencySettings]:
            named = repellency_preset(preset, distilled).changed(**values)
            named = named.changed(in_batch=in_batch, ensure_outside=ensure_outside, target=target).scaled(strength)
            # What ends a preset early is its radius, and a target finds its own.
            return replace(named, end=1.0) if target else named

        presets = chosen(distilled=False), chosen(distilled=True)
        kinds = [each.settings for each in presets]
        is_off = all(settings.is_off for settings in kinds)
        sources = _sources(model, bank, avoid)
        indexes = [] if protected is None else [protected]
        for index in indexes:
            check_index_fits(index, model)
        if is_off:
            why = "strength or radius is 0" + (", nothing is protected" if indexes else "")
            return left_alone(model, why, cls.hidden.unique_id)
        if not (sources or indexes or in_batch):
            return left_alone(model, "no bank, and keep_apart is bank only", cls.hidden.unique_id)

        def make(*intervals: SigmaInterval) -> SparseRepellency:
            settings, distilled = (
                replace(kind, interval=interval) for kind, interval in zip(kinds, intervals, strict=True)
            )
            return SparseRepellency(settings, sources, indexes, distilled, run_prompt)

        return steered_output(
            *steered(
                model,
                make,
                start_percent,
                end_percent,
                SparseRepellency.name,
                cls.hidden.unique_id,
                protects=any(len(index) for index in indexes),
                presets=presets,
                alone=bool(bank) or avoid is not None,
            )
        )


class DiversitySparseRepellencyOptions(io.ComfyNode):
    """Single values instead of those of a preset of Sparse Repellency."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversitySparseRepellencyOptions",
            display_name="Sparse Repellency Options",
            category="diversity/guidance",
            description="For experts: values of Sparse Repellency that replace those of its preset.",
            inputs=[
                number(
                    "radius",
                    10.0,
                    0.01,
                    "How far apart images are kept, as a fraction of the typical distance between unrelated images, "
                    "which is measured. Off at 0.",
                ),
                io.Float.Input(
                    "absolute_radius",
                    default=DEFAULTS.absolute_radius,
                    min=0.0,
                    max=1e6,
                    step=0.1,
                    optional=True,
                    tooltip="The radius in units of the model's latents instead of a fraction. Not used at 0.",
                ),
                number(
                    "cfg_easing",
                    10.0,
                    0.05,
                    "How far CFG is lowered for images that are too close to another: the closer, the lower. CFG is "
                    "what narrows a prompt to one image. Any value here also keeps the prompt in the first steps. Off "
                    "at 0, as published.",
                ),
                choice(
                    "measure",
                    ["conditional", "guided"],
                    "Which prediction distances are measured on. conditional: the one for the prompt alone, which "
                    "shows early where an image is going. guided: the one after CFG, as published. Both are the same "
                    "at CFG 1.",
                ),
                choice(
                    "overlap",
                    ["sum", "outside"],
                    "What happens where shields overlap. sum: their pushes are added up, as published. outside: the "
                    "image is moved outside all of them.",
                ),
                norm_clip(),
                start_input(as_socket=True),
                io.String.Input(
                    PROMPT,
                    optional=True,
                    force_input=True,
                    tooltip="The prompt. When connected, only images of the bank with similar prompts count, so that "
                    "one bank serves all prompts. They must have been saved with their prompts.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="Like prompt, but compares what the text encoder makes of prompts instead of their words, "
                    "for images that were saved with their conditioning.",
                ),
                io.Float.Input(
                    "prompt_similarity",
                    default=SIMILAR,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    force_input=True,
                    tooltip="How similar prompts are at least whose images count, once prompt or conditioning is "
                    f"connected: 1 for the same prompt only. Off at 0: all images count. {SIMILAR:g} if not connected.",
                ),
            ],
            outputs=[
                RepellencyOptionsSocket.Output("options", tooltip="For the options input of Keep Images Apart."),
            ],
            **schema_extras(search_aliases=["radius", "spell", "repel", "diversity"]),
        )

    @classmethod
    def validate_inputs(
        cls,
        radius: float | None = None,
        absolute_radius: float | None = None,
        cfg_easing: float | None = None,
        norm_clip: float | None = None,
        prompt_similarity: float | None = None,
    ) -> bool:
        """Refuse numbers out of their range before anything runs; what comes along a wire is None here."""
        return check_replacing(
            DEFAULTS,
            radius=radius,
            absolute_radius=absolute_radius,
            cfg_easing=cfg_easing,
            norm_clip=norm_clip,
            prompt_similarity=prompt_similarity,
        )

    @classmethod
    def execute(
        cls,
        radius: float = AS_PRESET,
        absolute_radius: float = DEFAULTS.absolute_radius,
        cfg_easing: float = AS_PRESET,
        measure: str = PRESET,
        overlap: str = PRESET,
        norm_clip: float = AS_PRESET,
        start_percent: float = 0.0,
        prompt: str | None = None,
        conditioning: Any = None,
        prompt_similarity: float = SIMILAR,
    ) -> io.NodeOutput:
        """Those that are set.

        Raises:
            ValueError: a number is out of its range.
        """
        options = replacing(
            radius=radius,
            absolute_radius=absolute_radius,
            cfg_easing=cfg_easing,
            measure=measure,
            overlap=overlap,
            norm_clip=norm_clip,
        )
        if prompt is not None or conditioning is not None:
            options = {**options, "prompt_similarity": prompt_similarity}
        replace(DEFAULTS, **options)
        others = {
            START: start_percent or None,
            PROMPT: prompt,
            ENCODED: None if conditioning is None else encoded_prompt(conditioning),
        }
        return io.NodeOutput({**options, **{name: value for name, value in others.items() if value is not None}})


def _sources(model: Any, bank: BankSnapshot | None, avoid: dict[str, Any] | None) -> list[ReferenceSource]:
    """What to keep away from, refused here rather than while sampling where it cannot fit the model."""
    sources: list[ReferenceSource] = []
    # A bank of which nothing can be read is told of by the run.
    if bank is not None and (len(bank) or bank.lost):
        check_bank_fits(bank, model)
        sources.append(bank)
    if avoid is not None:
        sources.append(ImageReferences(plain_latents(avoid, "The images to avoid"), name="avoid"))
    return sources
