"""Widgets, checks and traces of the nodes that steer a MODEL."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...guidance.base import Chain, Guidance
from ...guidance.limits import SigmaInterval
from ...guidance.presets import Preset
from ...guidance.prompt_easing import EasingSettings, PromptEasing
from ...guidance.trace import Trace
from ..host.active_run import PercentToSigma
from ..host.messages import VERDICT, logger, show, tell
from ..host.sampling import guided, sigma_interval
from ..host.schema import schema_extras
from .sockets import TraceSocket
from .traces import RunTraces

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

UNLIMITED = 100.0
"""Largest value of widgets whose largest value means infinity, such as a norm clip."""

COMMON_ALIASES = ("variety", "variation", "different", "diversity")
SAME_FACE = (
    "same face",
    "same picture",
    "same image",
    "all images look alike",
    "unique",
    "mode collapse",
    "seed variance",
)
"""Words by which artists look for what all steering nodes do, and for what those do that keep images apart."""

BATCH_AND_BANK, BANK_ONLY = "batch and bank", "bank only"
"""Choices of the widget ``keep_apart``."""


Presets = tuple[Preset[Any], Preset[Any]]
"""For runs with CFG, and for runs without."""


def unlimited(value: float) -> float:
    """A widget's value, with the largest as infinity."""
    return math.inf if value >= UNLIMITED else value


def strength_input(default: float = 1.0) -> io.Input:
    """The widget ``strength``, a factor on a preset."""
    return io.Float.Input(
        "strength",
        default=default,
        min=0.0,
        max=10.0,
        step=0.05,
        tooltip="Multiplies what the preset does: 1 is the preset itself, 2 twice as much. Off at 0.",
    )


def keep_apart_input() -> io.Input:
    """The widget ``keep_apart``."""
    return io.Combo.Input(
        "keep_apart",
        options=[BATCH_AND_BANK, BANK_ONLY],
        default=BATCH_AND_BANK,
        tooltip="batch and bank: the images of a batch keep away from one another and from everything connected here. "
        "bank only: they keep away from what is connected, and nothing happens without it.",
    )


def start_input(as_socket: bool = False) -> io.Input:
    """The widget ``start_percent``, or an input of this name without a widget."""
    return io.Float.Input(
        "start_percent",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.001,
        tooltip="Where in the model's schedule guidance starts. At 0 no early step is left out"
        + (", as if not connected." if as_socket else "."),
        optional=as_socket,
        force_input=as_socket or None,
    )


def end_input(end: float, why: str = "") -> io.Input:
    """The widget ``end_percent``.

    Args:
        end: recommended end, as a share of the model's schedule.
        why: what is lost by ending later: a sentence after a space.
    """
    return io.Float.Input(
        "end_percent",
        default=end,
        min=0.0,
        max=1.0,
        step=0.001,
        tooltip=f"Where in the model's schedule guidance ends. At 1 no late step is left out.{why}",
    )


def steering_schema(*aliases: str) -> dict[str, Any]:
    """What the schemas of all nodes that steer have in common: the steered model and the record of its runs.

    Args:
        aliases: words by which the node is found, beside ``COMMON_ALIASES``.
    """
    return {
        "outputs": [
            io.Model.Output("steered", display_name="model", tooltip="The steered model. Connect it to the sampler."),
            TraceSocket.Output(
                "trace", display_name="trace", tooltip="What was done in each run, for Measure Variety."
            ),
        ],
        "hidden": [io.Hidden.unique_id],
        # Two equal nodes must not share one record of what they did.
        "not_idempotent": True,
        **schema_extras(has_intermediate_output=True, search_aliases=[*COMMON_ALIASES, *aliases]),
    }


def check_numbers(defaults: DataclassInstance, **numbers: float | None) -> bool:
    """Validate numbers before anything runs.

    Args:
        defaults: settings that validate themselves.
        numbers: fields of the settings; None if the value comes from a wire and is not known yet.

    Raises:
        ValueError: a number is out of its range.
    """
    replace(defaults, **{name: value for name, value in numbers.items() if value is not None})
    return True


def steered(
    model: Any,
    make: Callable[[SigmaInterval, SigmaInterval], Guidance],
    start_percent: float,
    end_percent: float,
    name: str,
    node_id: str | None,
    *,
    protects: bool = False,
    presets: Presets | None = None,
    alone: bool = False,
) -> tuple[Any, RunTraces]:
    """Guide a MODEL, and report every run on the node and in the log.

    Args:
        model: the MODEL, which is not changed.
        make: makes the guidance of a run from the noise levels at which it acts with CFG, and without.
        start_percent: fraction of the model's schedule at which it begins.
        end_percent: fraction at which it ends.
        name: of the method, for the log.
        node_id: the node to write on.
        protects: whether a run that cannot be steered is an error.
        presets: how the prompt is eased, and when the method ends at the latest, in runs with CFG and in runs without.
        alone: whether the prompt is also eased for a batch of one, as beside remembered images.

    Returns:
        The guided MODEL and the record of its runs.
    """
    traces = RunTraces()

    def make_for_run(percent_to_sigma: PercentToSigma) -> Guidance:
        ends = (1.0, 1.0) if presets is None else [preset.end for preset in presets]
        intervals = [sigma_interval(percent_to_sigma, start_percent, min(end_percent, end)) for end in ends]
        guidance = make(*intervals)
        if presets is None or not any(preset.silent for preset in presets):
            return guidance
        easings = [
            EasingSettings(percent_to_sigma(preset.silent) if preset.silent else math.inf, interval=interval)
            for preset, interval in zip(presets, intervals, strict=True)
        ]
        return Chain([PromptEasing(*easings, alone=alone, need=guidance.need), guidance])

    def report(trace: Trace, latents: Tensor, latent_format: str) -> None:
        traces.record(latents, latent_format, trace)
        traces.shown.update(text=trace.headline(), details=trace.details())
        logger.info("%s (node %s): %s. %s", name, node_id, traces.shown["text"], traces.shown["details"])
        tell(node_id, traces.shown)

    def warn(text: str) -> None:
        logger.warning("%s (node %s): %s", name, node_id, text)
        show(node_id, text)

    return guided(model, make_for_run, report, warn=warn, protects=protects), traces


def steered_output(model: Any, traces: RunTraces) -> io.NodeOutput:
    """The output of a guidance node: the guided MODEL, its traces, and the text on the node."""
    return io.NodeOutput(model, traces, ui={VERDICT: [traces.shown]})


def left_alone(model: Any, why: str, node_id: str | None) -> io.NodeOutput:
    """The unchanged model as output, and why.

    Args:
        model: the MODEL.
        why: as the end of a sentence.
        node_id: the node to write on.
    """
    traces = RunTraces()
    traces.shown.update(text=f"Did nothing: {why}", details="The model is passed on unchanged.")
    show(node_id, traces.shown["text"])
    return steered_output(model, traces)
