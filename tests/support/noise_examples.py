"""The example workflow of Diverse Noise: a set of start noises drawn in parts, and a contact sheet of each part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .examples import PROMPT, SAMPLER, Example, Picture, Sheet
from .graphs import pictures_of
from .host_client import HostClient

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
        "**Start From Different Noise** makes sixteen initial noises as one set: their lowest frequencies, which "
        "carry composition, are chosen together. Queue twice: **part** counts on by itself, and the second eight "
        "images continue where the first eight ended.\n\n"
        "**set_seed** chooses the set; the sampler's own seed no longer matters here. Set **part** back to 0 to "
        "generate the first eight again.\n\n"
        "**Pick Representatives** picks the four of each eight that represent them best."
    )
    return Example(
        "One set of initial noises, part after part", sheet.graph, sheet.places, note, draw, {"DiversityNoise": "part"}
    )


NOISE_EXAMPLES = (set_in_parts,)
