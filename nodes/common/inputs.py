"""Validation of node inputs: an error says what an input needs, and what to wire instead.

The host compares the types of two sockets only, and accepts everything if one of them is ``*``. It passes on numbers
that are not finite, and values that an API prompt gives in place of a wire.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from comfy_api.latest import io
from torch import Tensor

from ...guidance.prompts import EncodedPrompt
from ...guidance.repellency.settings import RepellencySettings
from ...guidance.vendi.settings import VendiSettings
from ...stores.bank.snapshot import BankSnapshot
from ...stores.centroid.centroid import FeatureCentroid
from ...stores.exemplar_set import ExemplarSet
from ...stores.protected.index import ProtectedIndex
from ..report.options import ReportNumbers, ReportOptions
from .traces import RunTraces

NodeClass = TypeVar("NodeClass", bound=type[io.ComfyNode])
SHOWN = 40
"""Characters of a wrong value that an error quotes."""


@dataclass(frozen=True)
class Kind:
    """One type of socket.

    Attributes:
        needs: name of its values in errors.
        fits: whether a value has the type.
        remedy: what to wire.
    """

    needs: str
    fits: Callable[[Any], bool]
    remedy: str


def _is_latent(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    samples, mask, places = value.get("samples"), value.get("noise_mask"), value.get("batch_index")
    return (
        (_is_batch(samples) if isinstance(samples, Tensor) else bool(getattr(samples, "is_nested", False)))
        and (mask is None or isinstance(mask, Tensor))
        and (places is None or (isinstance(places, list) and all(isinstance(place, int) for place in places)))
    )


def _is_batch(samples: Tensor) -> bool:
    """Whether these are latents (B, C, ...), packed ones of older hosts included, which are refused elsewhere."""
    is_filled = samples.is_nested or (samples.ndim > 2 and samples.numel() > 0)
    return is_filled and samples.is_floating_point()


def _is_image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 4 and min(value.shape[1:]) > 0


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_is_prompt(part) for part in value)


def _is_prompt(part: Any) -> bool:
    is_pair = isinstance(part, (list, tuple)) and len(part) == 2
    return is_pair and isinstance(part[0], Tensor) and isinstance(part[1], dict)


def _is_noise_options(value: Any) -> bool:
    is_known = isinstance(value, Mapping) and value.keys() <= {"designed", "part_size"}
    return is_known and all(type(part) is int for part in value.values())


def _has(*names: str) -> Callable[[Any], bool]:
    """Whether a value has these methods, as other packs have their own classes for the host's types."""
    return lambda value: not isinstance(value, type) and all(hasattr(value, name) for name in names)


def _replaces(defaults: Any, **others: type) -> Callable[[Any], bool]:
    """Whether a value maps names of these settings, or others, to values of their types."""
    known = {field.name: type(getattr(defaults, field.name)) for field in fields(defaults)} | others

    def fits(value: Any) -> bool:
        return isinstance(value, Mapping) and all(_fits_field(part, known.get(name)) for name, part in value.items())

    return fits


def _fits_field(value: Any, kind: type | None) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind is not None and isinstance(value, (list, tuple) if kind is tuple else kind)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


KINDS = {
    "MODEL": Kind("a model", _has("clone", "model_options", "get_model_object"), "Connect the MODEL of a loader."),
    "VAE": Kind("a VAE", _has("encode", "decode"), "Connect the VAE of a loader."),
    "CLIP_VISION": Kind("a CLIP vision model", _has("encode_image"), "Connect what Load CLIP Vision gives."),
    "CONDITIONING": Kind("a prompt's conditioning", _is_conditioning, "Connect what CLIP Text Encode gives."),
    "LATENT": Kind("latents (B, C, ...)", _is_latent, "Connect what a sampler or VAE Encode gives."),
    "IMAGE": Kind("images (B, H, W, C)", _is_image, "Connect what VAE Decode or Load Image gives."),
    "DIVERSITY_BANK": Kind("a bank", _is(BankSnapshot), "Connect the bank of Load Memory Bank or Save to Memory Bank."),
    "DIVERSITY_TRACE": Kind("a trace", _is(RunTraces), "Connect the trace of the node that steers the model."),
    "DIVERSITY_EXEMPLARS": Kind("exemplars", _is(ExemplarSet), "Connect the exemplars of Load Real Examples."),
    "DIVERSITY_INDEX": Kind(
        "a protected index", _is(ProtectedIndex), "Connect what Load or Build Protected Index gives."
    ),
    "DIVERSITY_REPELLENCY_OPTIONS": Kind(
        "options of Sparse Repellency",
        _replaces(RepellencySettings(), start_percent=float, prompt=str, encoded=EncodedPrompt),
        "Connect what its options node gives.",
    ),
    "DIVERSITY_VENDI_OPTIONS": Kind(
        "options of Vendi Guidance", _replaces(VendiSettings()), "Connect what its options node gives."
    ),
    "DIVERSITY_NOISE_OPTIONS": Kind(
        "options of Diverse Noise", _is_noise_options, "Connect what its options node gives."
    ),
    "DIVERSITY_REPORT_OPTIONS": Kind(
        "options of the report", _replaces(ReportOptions()), "Connect what Report Options gives."
    ),
    "DIVERSITY_REPORT_NUMBERS": Kind("a report's numbers", _is(ReportNumbers), "Connect the numbers of the report."),
    "DIVERSITY_CENTROID": Kind("a centroid", _is(FeatureCentroid), "Connect what Learn From Examples gives."),
    "BOOLEAN": Kind("true or false", _is(bool), "Connect a boolean, or set the widget."),
}
"""By type name; numbers, texts and choices are checked against the schema."""


def checked(node: NodeClass) -> NodeClass:
    """The same node, which checks its inputs against its schema before it validates or executes.

    The error names node and input. For values in the prompt the host shows it before anything runs; for values from a
    wire ``execute`` raises it as ValueError. An optional input whose wire brings nothing counts as not wired. A
    ValueError that ``validate_inputs`` raises is shown, too.
    """
    # The host calls copies of the class that cannot be written to, as GET_SCHEMA does; choices may change with folders.
    execute = node.execute.__func__  # pyright: ignore[reportFunctionMemberAccess]

    @functools.wraps(execute)
    def execute_checked(cls: type[io.ComfyNode], **given: Any) -> io.NodeOutput:
        schema = node.GET_SCHEMA()
        optional = {socket.id for socket in schema.inputs if socket.optional}
        given = {name: value for name, value in given.items() if name not in optional or not _is_nothing(value)}
        if wrong := first_misfit(schema, given):
            raise ValueError(wrong)
        return execute(cls, **given)

    node.execute = classmethod(execute_checked)  # pyright: ignore[reportAttributeAccessIssue]
    if "validate_inputs" in vars(node):
        validate = node.validate_inputs.__func__  # pyright: ignore[reportFunctionMemberAccess]

        @functools.wraps(validate)
        def validate_checked(cls: type[io.ComfyNode], **given: Any) -> bool | str:
            told = {name: value for name, value in given.items() if not _is_nothing(value)}
            try:
                return first_misfit(node.GET_SCHEMA(), told) or validate(cls, **given)
            except ValueError as error:
                return str(error)

        # The host reads in its arguments what it need not look at itself, and does not look through a wrapper.
        setattr(validate_checked, "__signature__", inspect.signature(validate))  # noqa: B010
        node.validate_inputs = classmethod(validate_checked)  # pyright: ignore[reportAttributeAccessIssue]
    return node


def _is_nothing(value: Any) -> bool:
    """Whether a wire brings nothing, or its value is not known yet; list inputs wrap it in a list."""
    return value is None or (isinstance(value, (list, tuple)) and len(value) == 1 and value[0] is None)


def first_misfit(schema: io.Schema, given: Mapping[str, Any]) -> str:
    """The error of the first input that does not fit its schema; "" if all fit.

    Args:
        schema: of the node.
        given: values by input; lists of values for a node that takes lists.
    """
    for socket in schema.inputs:
        if socket.id in given:
            for value in given[socket.id] if schema.is_input_list else [given[socket.id]]:
                if wrong := _wrong(socket, value):
                    return f'The input "{socket.id}" of {schema.display_name} needs {wrong}'
    return ""


def _wrong(socket: Any, value: Any) -> str:
    """What an input needs instead of a value, and the remedy; "" if the value fits."""
    kind = socket.io_type
    if kind in ("INT", "FLOAT"):
        needs, fits, remedy = _number(kind, socket.min, socket.max)
    elif kind == "STRING":
        needs, fits, remedy = "a text", _is_text, "Connect a text, or type it into the widget."
    elif kind == "COMBO":
        choices = [str(getattr(option, "value", option)) for option in socket.options]
        needs, remedy = f"one of {', '.join(choices)}", "Choose it in the widget."
        fits = lambda value: isinstance(value, str) and value in choices  # noqa: E731
    elif kind in KINDS:
        needs, fits, remedy = KINDS[kind].needs, KINDS[kind].fits, KINDS[kind].remedy
    else:
        return ""
    return "" if fits(value) else f"{needs}, not {spelled(value)}. {remedy}"


def _number(kind: str, low: float | None, high: float | None) -> tuple[str, Callable[[Any], bool], str]:
    types = (int,) if kind == "INT" else (int, float)
    low, high = -math.inf if low is None else low, math.inf if high is None else high

    def fits(value: Any) -> bool:
        # True is an int, and NaN is in no range.
        return (
            isinstance(value, types) and not isinstance(value, bool) and low <= value <= high and abs(value) < math.inf
        )

    called = "a whole number" if kind == "INT" else "a number"
    return f"{called} from {low} to {high}", fits, "Connect a number, or set the widget."


def _is_text(value: Any) -> bool:
    """Whether this is text without NUL that UTF-8 can encode, unlike lone surrogates in JSON."""
    try:
        return isinstance(value, str) and "\0" not in value and value.encode() is not None
    except UnicodeEncodeError:
        return False


def spelled(value: Any) -> str:
    """A value as an error quotes it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}".replace("torch.", "")
    if isinstance(value, (bool, int, float)):
        return _short(f"{value:.3e}" if isinstance(value, int) and value.bit_length() > 64 else str(value))
    if isinstance(value, str):
        return _short(ascii(value))
    if isinstance(value, Mapping):
        return f"a dictionary with {_short(', '.join(map(str, value))) or 'nothing in it'}"
    return f"a value of type {type(value).__name__}"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
