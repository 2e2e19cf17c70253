"""Sparse Repellency (arXiv 2410.06025) as a patch of a MODEL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from comfy_api.latest import io

from ..guidance.limits import Cap, SigmaInterval
from ..guidance.references import Pictures, ReferenceSource
from ..guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings, SparseRepellency
from ..guidance.repellency.protection import check_latent_space
from ..stores.bank.snapshot import BankSnapshot, check_latent_format
from ..stores.protected.index import ProtectedIndex
from .common.sockets import BankSocket, IndexSocket
from .common.steering import (
    cap_inputs,
    check_numbers,
    interval_inputs,
    limited,
    steered,
    steered_outputs,
    unlimited,
)
from .common.traces import RunTraces
from .host.latents import plain_latents
from .host.messages import show
from .host.sampling import latent_format_name
from .host.schema import advanced, schema_extras

DEFAULTS = RepellencySettings()


class DiversitySparseRepellency(io.ComfyNode):
    """Keeps pictures out of shields around remembered pictures and around one another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversitySparseRepellency",
            display_name="Keep Images Apart (Sparse Repellency)",
            category="diversity/guidance",
            description="Steers sampling so that every picture keeps its distance from those of a Memory Bank or a "
            "Protected Index, from pictures to avoid and from the others of its batch. Pictures that are far enough "
            "away are not touched.",
            inputs=[
                io.Model.Input("model", tooltip="The model to steer; the one that comes in stays as it is."),
                io.Float.Input(
                    "radius",
                    default=DEFAULTS.radius,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How far pictures keep apart, as a fraction of the typical distance between unrelated "
                    "pictures, which is measured. Disabled at 0.",
                ),
                io.Float.Input(
                    "strength",
                    default=DEFAULTS.strength,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="Factor on every push. 1 brings an estimate exactly to the radius, more overshoots. "
                    "Disabled at 0.",
                ),
                io.Float.Input(
                    "relaxation",
                    default=DEFAULTS.relaxation,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How far CFG, which narrows a prompt to one picture, is eased while a picture is too close "
                    "to another, the more the closer it is. Disabled at 0, as published. No difference at CFG 1.",
                ),
                io.Combo.Input(
                    "measure",
                    options=["conditional", "guided"],
                    default=DEFAULTS.measure,
                    tooltip="Where distances are measured: on what the prompt alone predicts, which works while the "
                    "picture is being decided, or on the guided prediction, as published. No difference at CFG 1.",
                ),
                io.Combo.Input(
                    "overlap",
                    options=["sum", "clear"],
                    default=DEFAULTS.overlap,
                    tooltip="Where shields overlap: add up their pushes, as published, or move out of all of them.",
                ),
                *interval_inputs(RECOMMENDED_END, ": the last steps decide details, and pushing there costs quality"),
                io.Boolean.Input(
                    "in_batch",
                    default=DEFAULTS.in_batch,
                    tooltip="Whether the pictures of a batch keep away from one another. No effect on a batch of one.",
                ),
                io.Boolean.Input(
                    "ensure_outside",
                    default=DEFAULTS.ensure_outside,
                    tooltip="Whether finished pictures that are still too close are moved out of every shield, "
                    "whatever that does to them.",
                ),
                advanced(
                    io.Float.Input,
                    "absolute_radius",
                    default=DEFAULTS.absolute_radius,
                    min=0.0,
                    max=1e6,
                    step=0.1,
                    tooltip="Radius in the units of the model's latents, instead of the fraction above. Off at 0.",
                ),
                *cap_inputs(DEFAULTS.cap),
                BankSocket.Input("bank", optional=True, tooltip="Pictures of the past to keep away from."),
                io.Latent.Input("avoid", optional=True, tooltip="More pictures to keep away from, encoded by the VAE."),
                IndexSocket.Input(
                    "protected",
                    optional=True,
                    tooltip="Pictures that must not be drawn again, up to millions. Switch ensure_outside on: without "
                    "it nothing guarantees that finished pictures are outside their radius.",
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
                    "repeat",
                    "unique",
                    "mode collapse",
                    "seed variance",
                    "avoid",
                    "spell",
                    "shielded diffusion",
                    "diversity",
                ]
            ),
        )

    @classmethod
    def validate_inputs(
        cls,
        radius: float | None = None,
        strength: float | None = None,
        relaxation: float | None = None,
        absolute_radius: float | None = None,
    ) -> bool | str:
        """Say what is wrong with numbers before anything runs; what comes along a wire is None here."""
        return check_numbers(
            DEFAULTS, radius=radius, strength=strength, relaxation=relaxation, absolute_radius=absolute_radius
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        radius: float,
        strength: float,
        relaxation: float,
        measure: Literal["conditional", "guided"],
        overlap: Literal["sum", "clear"],
        start_percent: float,
        end_percent: float,
        in_batch: bool,
        ensure_outside: bool,
        absolute_radius: float = DEFAULTS.absolute_radius,
        cap_update: float = limited(DEFAULTS.cap.update),
        cap_estimate: float = limited(DEFAULTS.cap.estimate),
        bank: BankSnapshot | None = None,
        avoid: dict[str, Any] | None = None,
        protected: ProtectedIndex | None = None,
    ) -> io.NodeOutput:
        """Patch the model, unless there is nothing to keep away from.

        Raises:
            ValueError: a number is out of its range, or pictures to keep away from are of another model.
        """
        settings = RepellencySettings(
            radius=radius,
            strength=strength,
            relaxation=relaxation,
            measure=measure,
            overlap=overlap,
            in_batch=in_batch,
            ensure_outside=ensure_outside,
            absolute_radius=absolute_radius,
            cap=Cap(unlimited(cap_update), unlimited(cap_estimate)),
        )
        sources = _sources(model, bank, avoid)
        indexes = [] if protected is None else [protected]
        for index in indexes:
            check_latent_space(index, latent_format_name(model))
        if settings.is_off and indexes:
            show(cls.hidden.unique_id, "Nothing is protected: radius or strength is 0.")
        if settings.is_off or not (sources or indexes or in_batch):
            return io.NodeOutput(model, RunTraces())

        def make(interval: SigmaInterval) -> SparseRepellency:
            return SparseRepellency(replace(settings, interval=interval), sources, indexes)

        return io.NodeOutput(
            *steered(
                model,
                make,
                start_percent,
                end_percent,
                SparseRepellency.name,
                cls.hidden.unique_id,
                protects=any(len(index) for index in indexes),
            )
        )


def _sources(model: Any, bank: BankSnapshot | None, avoid: dict[str, Any] | None) -> list[ReferenceSource]:
    """What to keep away from, refused here rather than while sampling where it cannot fit the model."""
    sources: list[ReferenceSource] = []
    if bank is not None and len(bank):
        check_latent_format(bank.name, bank.latent_format, latent_format_name(model))
        sources.append(bank)
    if avoid is not None:
        sources.append(Pictures(plain_latents(avoid, "The pictures to avoid"), name="avoid"))
    return sources
