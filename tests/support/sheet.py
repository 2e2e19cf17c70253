"""What the example workflows of the embedded model are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .graphs import Node, pictures_of
from .host_client import HostClient
from .plan import READ, Fold, Plan
from .workflows import CORE_VERSION, Workflow

MODEL = "1. Model and prompt"
BLUE, GREY, PURPLE, BROWN, GREEN = "#3f789e", "#5c6370", "#8a4f9e", "#88724a", "#4a8858"
SAMPLER: dict[str, Any] = {"steps": 24, "cfg": 5.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
TURBO: dict[str, Any] = {**SAMPLER, "steps": 8, "cfg": 1.0}
EIGHT, FOUR = (520, 330), (360, 400)
"""Sizes of a node that shows so many images."""

Picture = NDArray[np.uint8]
Draw = Callable[[HostClient], Sequence[Picture]]


@dataclass
class Example:
    """A workflow file in the making.

    Attributes:
        title: what the template browser shows after the number.
        sheet: its nodes, with the host's defaults where nothing else is said.
        colours: of the frames, from the left.
        note: what stands beside them.
        draw: queues it as often as it takes to show its point, and returns the pictures of its thumbnail.
        folds: nodes that are shown as one.
        below: a frame that stands below another one, by its title.
        level: frames whose last nodes stand beside one another.
        counted: widgets, by node type, that the editor counts on after every queue.
    """

    title: str
    sheet: Sheet
    colours: Mapping[str, str]
    note: str
    draw: Draw
    folds: Sequence[Fold] = ()
    below: Mapping[str, str] = field(default_factory=dict)
    level: Sequence[str] = ()
    counted: Mapping[str, str] = field(default_factory=dict)

    def workflow(self) -> Workflow:
        """The file's content."""
        others = [title for title in self.colours if title not in (MODEL, *self.below)]
        bands = [
            (READ, MODEL),
            *([title, *(one for one, above in self.below.items() if above == title)] for title in others),
        ]
        return self.sheet.arranged(self.note, self.folds, self.colours, bands, self.level)


class Enlarged(NamedTuple):
    """Nodes from latents to images of a size that one can look at."""

    decoded: Node
    enlarged: Node


class Shown(NamedTuple):
    """The same, and the node that saves them."""

    decoded: Node
    enlarged: Node
    saved: Node


class Sheet(Plan):
    """A graph of the embedded model.

    Args:
        object_info: what the host knows of its nodes.
        model: which of the embedded models.
    """

    def __init__(self, object_info: Mapping[str, Any], model: str = "base") -> None:
        super().__init__(object_info, CORE_VERSION)
        self.demo = self.put(MODEL, "DiversityDemoModel", model=model)

    def say(self, text: str, called: str, frame: str = MODEL, stack: int = 0) -> Node:
        """A prompt."""
        return self.put(frame, "CLIPTextEncode", called=called, stack=stack, clip=self.demo[1], text=text)

    def prompts(self, prompt: str) -> dict[str, Node]:
        """The sampler's conditionings."""
        return {"positive": self.say(prompt, "Prompt"), "negative": self.say("", "Negative prompt")}

    def empty(self, batch: int, frame: str = MODEL, stack: int = 0) -> Node:
        """Empty latents of so many images."""
        size = {"width": 64, "height": 64, "batch_size": batch}
        return self.put(frame, "EmptySD3LatentImage", stack=stack, **size)

    def enlarge(self, frame: str, samples: Any, stack: int = 0) -> Enlarged:
        """Decode and enlarge."""
        decoded = self.put(frame, "VAEDecode", stack=stack, samples=samples, vae=self.demo[2])
        method = {"upscale_method": "lanczos", "scale_by": 4.0}
        return Enlarged(decoded, self.put(frame, "ImageScaleBy", stack=stack, image=decoded, **method))

    def show(self, frame: str, samples: Any, prefix: str, size: tuple[int, int] = EIGHT, stack: int = 0) -> Shown:
        """Decode, enlarge and save."""
        made = self.enlarge(frame, samples, stack)
        return Shown(*made, self.save(frame, made.enlarged, prefix, size, stack))

    def save(
        self, frame: str, images: Any, prefix: str, size: tuple[int, int] = EIGHT, stack: int = 0, called: str = ""
    ) -> Node:
        """Save and show images."""
        names = {"images": images, "filename_prefix": prefix}
        return self.put(frame, "SaveImage", called=called, stack=stack, size=size, **names)


def sampled(title: str, sampler: Node, made: Enlarged | Shown, *others: Node) -> Fold:
    """A sampler and what shows its images, as one node with the widgets that one changes."""
    widgets = [(sampler, name) for name in ("seed", "steps", "cfg")]
    names = {(made.enlarged, "IMAGE"): "enlarged", (made.decoded, "IMAGE"): "images", (sampler, "LATENT"): "samples"}
    return Fold(title, (*others, sampler, made.decoded, made.enlarged), widgets, names)


def prompt_and_size(prompts: Mapping[str, Node], latent: Node) -> Fold:
    """The sampler's conditionings and empty latents as one node with the prompt."""
    names = {(node, "CONDITIONING"): name for name, node in prompts.items()} | {(latent, "LATENT"): "latent"}
    return Fold("Prompt and size", (*prompts.values(), latent), [(prompts["positive"], "text")], names)


def enlarged(made: Enlarged | Shown) -> Fold:
    """Decoding and enlarging as one node."""
    names = {(made.decoded, "IMAGE"): "images", (made.enlarged, "IMAGE"): "enlarged"}
    return Fold("Decode and enlarge", (made.decoded, made.enlarged), (), names)


def drawing(sheet: Sheet, *savers: Node, of_each: int | None = None) -> Draw:
    """Runs the graph once and gives what these nodes saved, all of it or the first few of each."""

    def draw(client: HostClient) -> list[Picture]:
        run = client.run(sheet.graph.prompt)
        return [picture for saver in savers for picture in pictures_of(client, run, saver)[:of_each]]

    return draw
