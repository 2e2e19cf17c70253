"""The example workflows as graphs, and ``python -m support.examples`` to write their files from a real run.

Run it from the tests folder whenever widgets, defaults or the embedded model's weights have changed. Beginnings of
titles as arguments write those alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .graphs import Graph, Node, pictures_of
from .host_checkouts import PACK
from .host_client import HostClient
from .host_server import first_host
from .layout import enlarge, separate
from .workflows import inputs_of, to_workflow, widget_names

FOLDER = PACK / "example_workflows"
THUMBNAIL_SIDE = 512
PROMPT = "woman running"
SAMPLER: dict[str, Any] = {"steps": 24, "cfg": 5.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}

Place = tuple[int, int, int, int]
Picture = NDArray[np.uint8]


@dataclass
class Example:
    """A workflow file in the making.

    Attributes:
        title: the file's stem, which is what the template browser shows.
        graph: its nodes, with the host's defaults where nothing else is said.
        places: where each stands.
        note: what stands beside them.
        draw: queues it as often as it takes to show its point, and returns the pictures of its thumbnail.
        counted: widgets, by node type, that the editor counts on after every queue.
    """

    title: str
    graph: Graph
    places: dict[str, Place]
    note: str
    draw: Callable[[HostClient], Sequence[Picture]]
    counted: Mapping[str, str] = field(default_factory=dict)


class Sheet:
    """A graph whose nodes know their place."""

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        self.graph = Graph()
        self.places: dict[str, Place] = {}
        self.object_info = object_info

    def put(self, place: Place, class_type: str, **inputs: Any) -> Node:
        """Add a node with the host's defaults for the inputs that are not given."""
        defaults = {
            name: options["default"]
            for name, _, options in inputs_of(self.object_info[class_type])
            if "default" in options and not options.get("forceInput")
        }
        node = self.graph.add(class_type, **{**defaults, **inputs})
        self.places[node.id] = place
        return node

    def prompts(self, demo: Node, prompt: str = PROMPT) -> dict[str, Any]:
        """The sampler's conditionings."""
        positive = self.put((380, 60, 300, 110), "CLIPTextEncode", clip=demo[1], text=prompt)
        negative = self.put((380, 230, 300, 90), "CLIPTextEncode", clip=demo[1], text="")
        return {"positive": positive, "negative": negative}

    def show(self, place: Place, samples: Node, demo: Node, prefix: str) -> Node:
        """Decode, enlarge and save."""
        x, y, width, height = place
        decoded = self.put((x, y, 210, 50), "VAEDecode", samples=samples, vae=demo[2])
        large = self.put(
            (x, y + 100, 260, 130), "ImageScaleBy", image=decoded, upscale_method="nearest-exact", scale_by=3.0
        )
        return self.put((x + 300, y, width, height), "SaveImage", images=large, filename_prefix=prefix)

    def repelled(self, place: Place, radius: float, **inputs: Any) -> Node:
        """The model with Sparse Repellency of this radius, which an options node says."""
        x, y, width, _ = place
        options = self.put((x, y - 220, width, 180), "DiversitySparseRepellencyOptions", radius=radius)
        return self.put(place, "DiversitySparseRepellency", options=options, **inputs)

    def drawing(self, *savers: Node, of_each: int | None = None) -> Callable[[HostClient], Sequence[Picture]]:
        """Runs the graph once and gives what these nodes saved, all of it or the first few of each."""

        def draw(client: HostClient) -> list[Picture]:
            run = client.run(self.graph.prompt)
            return [picture for saver in savers for picture in pictures_of(client, run, saver)[:of_each]]

        return draw


def alike_and_different(object_info: Mapping[str, Any]) -> Example:
    """The same prompt and seed twice, as it is and with Sparse Repellency within the batch."""
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")
    prompts = sheet.prompts(demo, "google man singer")
    latent = sheet.put((380, 380, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=8)
    common = {**prompts, **SAMPLER, "latent_image": latent, "seed": 1}
    alike = sheet.put((740, 60, 300, 270), "KSampler", model=demo, **common)
    first = sheet.show((1100, 60, 560, 400), alike, demo, "eight alike")
    repelled = sheet.put((380, 580, 300, 330), "DiversitySparseRepellency", model=demo, preset="strong")
    different = sheet.put((740, 580, 300, 270), "KSampler", model=repelled, **common)
    second = sheet.show((1100, 580, 560, 400), different, demo, "eight different")
    sheet.places["note"] = (20, 580, 320, 330)

    note = (
        "## Eight alike, eight different\n\n"
        "One prompt, one seed, one queue. Above, the model as it is: a prompt that leaves skin and hair open still "
        "gives nearly the same image eight times. Below, **Keep Images Apart** keeps the eight images apart while "
        "they are being decided.\n\n"
        "**preset** is how far apart, and **strength** multiplies it. At strength 0 both batches are the same.\n\n"
        "Nothing needs to be downloaded: the model is part of the pack and generates emoji. Connect your own model "
        "instead."
    )
    return Example(
        "Same prompt, eight alike and eight different", sheet.graph, sheet.places, note, sheet.drawing(first, second)
    )


def growing_bank(object_info: Mapping[str, Any]) -> Example:
    """Every queue keeps away from what the earlier ones drew, although prompt and seed stay the same."""
    queues, batch = 4, 4
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")
    bank = sheet.put((20, 260, 300, 130), "DiversityMemoryBank", name="first steps")
    prompts = sheet.prompts(demo, "woman police officer")
    latent = sheet.put((380, 380, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=batch)
    repelled = sheet.repelled((380, 800, 300, 330), 0.5, model=demo, bank=bank)
    common = {**prompts, **SAMPLER, "latent_image": latent, "seed": 1}
    drawn = sheet.put((740, 60, 300, 270), "KSampler", model=repelled, **common)
    remembered = sheet.put((740, 400, 300, 180), "DiversityRemember", samples=drawn, model=demo, name="first steps")
    saved = sheet.show((1100, 60, 560, 400), remembered, demo, "first steps")
    sheet.places["note"] = (20, 580, 320, 444)

    def draw(client: HostClient) -> list[Picture]:
        runs = [client.run(sheet.graph.prompt) for _ in range(queues)]
        return [picture for run in runs for picture in pictures_of(client, run, saved)]

    note = (
        "## A memory that grows\n\n"
        "Queue this several times. The seed stays the same, and still every queue generates something else: **Save "
        "to Memory Bank** adds the new images to the bank, and **Keep Images Apart** keeps the next ones away from "
        "all of them.\n\n"
        "Every image notes in its metadata which revision of the bank it was generated with. Set **revision** of "
        "**Load Memory Bank** to it to generate that image again; -1 is the newest.\n\n"
        "Another **name** begins another bank."
    )
    return Example("Memory bank that grows with every queue", sheet.graph, sheet.places, note, draw)


EXAMPLES = (alike_and_different, growing_bank)


def thumbnail(pictures: Sequence[Picture], columns: int = 4) -> Image.Image:
    """Pictures in rows, as one square."""
    rows = [np.concatenate(pictures[start : start + columns], axis=1) for start in range(0, len(pictures), columns)]
    return Image.fromarray(np.concatenate(rows)).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)


def write(
    client: HostClient, examples: Sequence[Callable[[Mapping[str, Any]], Example]], wanted: Sequence[str] = ("",)
) -> None:
    """Write the files of these examples, or of those among them whose titles begin as wanted."""
    object_info = client.object_info()
    for make in examples:
        example = make(object_info)
        if not example.title.startswith(tuple(wanted)):
            continue
        thumbnail(example.draw(client)).save(FOLDER / f"{example.title}.jpg", quality=88)
        workflow = to_workflow(example.graph.prompt, object_info, example.places, example.note)
        enlarge(workflow["nodes"], object_info)
        separate(workflow["nodes"])
        for node in workflow["nodes"]:
            if widget := example.counted.get(node["type"]):
                node["widgets_values"][widget_names(object_info[node["type"]]).index(widget) + 1] = "increment"
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{example.title}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write the files from a run on the host that the tests use."""
    from .feature_examples import FEATURE_EXAMPLES
    from .index_examples import INDEX_EXAMPLES
    from .noise_examples import NOISE_EXAMPLES
    from .report_examples import REPORT_EXAMPLES
    from .vendi_examples import VENDI_EXAMPLES

    examples = (
        *EXAMPLES,
        *REPORT_EXAMPLES,
        *VENDI_EXAMPLES,
        *NOISE_EXAMPLES,
        *FEATURE_EXAMPLES,
        *INDEX_EXAMPLES,
    )
    with first_host() as server:
        write(server.client, examples, sys.argv[1:] or ("",))


if __name__ == "__main__":
    main()
