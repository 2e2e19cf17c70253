"""Graphs in which one input of one of our nodes gets what does not fit, and what an unclear answer to it looks like."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .graphs import Drawing, Node
from .host_client import HostClient, PromptRefused, Run

LITERALS: list[Any] = [
    None,
    True,
    -1,
    2**200,
    0.5,
    math.nan,
    math.inf,
    "",
    "text",
    "a/" * 5000,
    "\ud800",
    "\0",
    "evil\u202egnp",
    "../../outside",
    {},
    {"a": 1},
    {"__value__": [1, 2]},
    [],
    [1, 2, 3],
]
"""Values in an API prompt in place of a wire or a widget's value."""

PATIENCE = 120.0
"""Seconds after which a run is taken to hang."""

SENTENCE = re.compile(r"[A-Z\"'(0-9].{15,}[.)]", re.DOTALL)
OURS = "diversity"


@dataclass(frozen=True)
class Misfit:
    """One input of one node, and what it gets."""

    node: str
    name: str
    value: Any
    wired: bool

    def __str__(self) -> str:
        way = "along a wire" if self.wired else "in the prompt"
        return f"{self.node}.{self.name}: {str(self.value)[:30]!a} {way}"


def inputs_of(info: dict[str, Any]) -> dict[str, list[Any]]:
    """Type and options by name, the optional ones too."""
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def misfits(object_info: dict[str, Any], node: str) -> Iterator[Misfit]:
    """Every misfit of a node, each input in turn, along a wire and in the prompt by turns."""
    kinds = object_info["TestAnything"]["input"]["required"]["kind"][0]
    names = list(inputs_of(object_info[node]))
    for turn in range(max(len(kinds), len(LITERALS))):
        for wired, values in ((True, kinds), (False, LITERALS)):
            if turn < len(values):
                for place, name in enumerate(names):
                    # Neighbours get unlike values, so that a few turns try many.
                    yield Misfit(node, name, values[(turn + 7 * place) % len(values)], wired)


class Misfitting(Drawing):
    """A graph that runs one of our nodes on the embedded model, with the misfit in it if there is one."""

    def __init__(self, object_info: dict[str, Any], class_type: str, misfit: Misfit | None = None) -> None:
        super().__init__()
        self.object_info = object_info
        given = {} if misfit is None else {misfit.name: self.value(misfit)}
        node = self.ours(class_type, every=True, **given)
        outputs = object_info[class_type]["output"]
        if "MODEL" in outputs:
            self.latents(self.sample(node[outputs.index("MODEL")], steps=1))
        elif not object_info[class_type]["output_node"]:
            self.add("PreviewAny", source=node)

    def value(self, misfit: Misfit) -> Any:
        """What the input gets."""
        return self.add("TestAnything", kind=misfit.value) if misfit.wired else misfit.value

    def ours(self, class_type: str, every: bool = False, **given: Any) -> Node:
        """One of our nodes with fitting inputs, the optional ones too if ``every``."""
        info = self.object_info[class_type]
        wanted = inputs_of(info) if every else info["input"].get("required", {})
        fitting = {
            name: self.fitting(class_type, name, *spec)
            for name, spec in wanted.items()
            if name not in given and name not in UNFIT_TOGETHER
        }
        return self.add(class_type, **{name: value for name, value in fitting.items() if value is not None}, **given)

    def report_numbers(self) -> list[Any]:
        """The numbers of a report."""
        place = self.object_info["DiversityReport"]["output"].index("DIVERSITY_REPORT_NUMBERS")
        return self.ours("DiversityReport")[place]

    def fitting(self, class_type: str, name: str, kind: Any, options: dict[str, Any] | None = None) -> Any:
        """A value that fits an input."""
        options = options or {}
        if name in VALUES:
            return VALUES[name]
        if isinstance(kind, list):
            return options.get("default", kind[0])
        if kind == "COMBO":
            return options.get("default", options["options"][0])
        if "default" in options and not options.get("forceInput"):
            return options["default"]
        make = SOURCES.get(kind)
        return None if make is None else make(self)


VALUES: dict[str, Any] = {"folder": "", "name": "fuzz", "save_as": "", "width": 64, "height": 64, "count": 1}
"""Where a default would cost time or does not run by itself."""

UNFIT_TOGETHER = {"latents", "avoid"}
"""Inputs that take the place of another one."""

SOURCES: dict[str, Any] = {
    "MODEL": lambda graph: graph.demo[0],
    "CLIP": lambda graph: graph.demo[1],
    "VAE": lambda graph: graph.demo[2],
    "CLIP_VISION": lambda graph: graph.add("TestTinyClipVision")[0],
    "CONDITIONING": lambda graph: graph.encode("woman running")[0],
    "LATENT": lambda graph: graph.sample(steps=1, batch=2)[0],
    "IMAGE": lambda graph: graph.add("VAEDecode", samples=graph.sample(steps=1, batch=2), vae=graph.demo[2])[0],
    "STRING": lambda graph: graph.add("PrimitiveString", value="woman running")[0],
    "DIVERSITY_BANK": lambda graph: graph.ours("DiversityMemoryBank")[0],
    "DIVERSITY_EXEMPLARS": lambda graph: graph.ours(
        "DiversityExemplarSet", images=SOURCES["IMAGE"](graph), vae=graph.demo[2]
    )[0],
    "DIVERSITY_INDEX": lambda graph: graph.ours("DiversityBuildProtectedIndex", images=SOURCES["IMAGE"](graph))[0],
    "DIVERSITY_REPELLENCY_OPTIONS": lambda graph: graph.ours("DiversitySparseRepellencyOptions")[0],
    "DIVERSITY_VENDI_OPTIONS": lambda graph: graph.ours("DiversityVendiGuidanceOptions")[0],
    "DIVERSITY_NOISE_OPTIONS": lambda graph: graph.ours("DiversityNoiseOptions")[0],
    "DIVERSITY_REPORT_OPTIONS": lambda graph: graph.ours("DiversityReportOptions")[0],
    "DIVERSITY_REPORT_NUMBERS": lambda graph: graph.report_numbers(),
    "DIVERSITY_CENTROID": lambda graph: graph.ours("DiversityFeatureProbe", latents=graph.sample(steps=1)[0])[0],
    "DIVERSITY_TRACE": lambda graph: graph.ours("DiversitySparseRepellency")[1],
}
"""By type: an output that fits."""


def complaint(client: HostClient, misfit: Misfit, prompt: dict[str, Any]) -> str:
    """What is wrong with how the host answered; empty where the run went well or one clear sentence says why not.

    Raises:
        requests.HTTPError: the server answered that it failed itself.
        TimeoutError: the run hangs.
    """
    try:
        run = client.wait(client.queue(prompt), PATIENCE)
    except PromptRefused as refusal:
        return f"{misfit}: {refusal}" if "Exception when validating" in str(refusal) else ""
    return f"{misfit}: {run.error}: {run.message[:300]}" if is_unclear(run) else ""


def is_unclear(run: Run) -> bool:
    """Whether a run failed with anything but a sentence of ours."""
    if run.status == "success":
        return False
    known = run.error == "ValueError" or OURS in run.error.lower()
    return not (known and SENTENCE.fullmatch(run.message.strip()))
