"""The example workflow of Diverse Noise; ``python -m support.noise_examples`` writes its files from a real run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .examples import FOLDER, PROMPT, SAMPLER, Example, Picture, Sheet, write
from .graphs import pictures_of
from .host_client import HostClient
from .host_server import HostServer, host_folder
from .workflows import widget_names

TITLE = "One set of start noises, part after part"
QUEUES, BATCH = 2, 8


def set_in_parts(object_info: Mapping[str, Any]) -> Example:
    """Sixteen start noises designed as one set and drawn in two queues, and a contact sheet of each."""
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")
    positive = sheet.put((380, 60, 300, 110), "CLIPTextEncode", clip=demo[1], text=PROMPT)
    negative = sheet.put((380, 230, 300, 90), "CLIPTextEncode", clip=demo[1], text="")
    latent = sheet.put((380, 380, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=BATCH)
    noise = sheet.put((380, 570, 300, 330), "DiversityNoise", model=demo, set_size=QUEUES * BATCH, set_seed=1)
    settings = {**SAMPLER, "cfg": 1.0, "seed": 1, "positive": positive, "negative": negative, "latent_image": latent}
    drawn = sheet.put((740, 60, 300, 270), "KSampler", model=noise[1], **settings)
    saved = sheet.show((1100, 60, 560, 400), drawn, demo, "a set in parts")
    pick = sheet.put((740, 570, 300, 110), "DiversityPick", samples=drawn, count=4)
    sheet.show((1100, 570, 560, 300), pick, demo, "contact sheet")
    sheet.places["note"] = (20, 570, 320, 330)

    def draw(client: HostClient) -> list[Picture]:
        pictures = []
        for part in range(QUEUES):
            prompt = json.loads(json.dumps(sheet.graph.prompt))
            prompt[noise.id]["inputs"]["part"] = part
            pictures += pictures_of(client, client.run(prompt), saved)
        return pictures

    note = (
        "## One set, part after part\n\n"
        "**Diverse Noise** draws sixteen start noises as one set: their lowest frequencies, which carry composition, "
        "are chosen together. Queue twice: `part` counts on by itself, and the second eight pictures go on where the "
        "first eight ended.\n\n"
        "Its `set_seed` says which set; the sampler's own seed no longer matters here. Set `part` back to 0 to draw "
        "the first eight again.\n\n"
        "**Pick Representatives** chooses the four of each eight that stand for all."
    )
    return Example(TITLE, sheet.graph, sheet.places, note, draw)


def count_on(path: Path, object_info: Mapping[str, Any]) -> None:
    """Set the editor's control of ``part`` to increment."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] == "DiversityNoise":
            place = widget_names(object_info["DiversityNoise"]).index("part")
            node["widgets_values"][place + 1] = "increment"
    path.write_text(json.dumps(workflow, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Write the files from a run on the host that the tests use."""
    host = host_folder("COMFYUI_PATH", "~/comfy/ComfyUI")
    if host is None:
        raise SystemExit("There is no ComfyUI in ~/comfy/ComfyUI: point COMFYUI_PATH at a checkout.")
    with tempfile.TemporaryDirectory() as folder, HostServer(host, Path(folder)) as server:
        server.wait_until_ready()
        write(server.client, (set_in_parts,))
        count_on(FOLDER / f"{TITLE}.json", server.client.object_info())


if __name__ == "__main__":
    main()
