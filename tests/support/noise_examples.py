"""The example workflow of Diverse Noise: a set of start noises drawn in parts, and a contact sheet of each part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .graphs import pictures_of
from .host_client import HostClient
from .sheet import BLUE, EIGHT, FOUR, GREEN, MODEL, PURPLE, SAMPLER, Example, Picture, Sheet

QUEUES, BATCH = 2, 8


def set_in_parts(object_info: Mapping[str, Any]) -> Example:
    """Sixteen start noises designed as one set and drawn in two queues, and a contact sheet of each."""
    designed, sample, chosen = "2. Noise as a set", "3. Sample", "4. Four that represent them"
    sheet = Sheet(object_info)
    prompts, latent = sheet.prompts("doctor"), sheet.empty(BATCH)
    noise = sheet.put(designed, "DiversityNoise", model=sheet.demo, set_size=QUEUES * BATCH, set_seed=1)
    settings = {**SAMPLER, "cfg": 2.0, "seed": 1, **prompts, "latent_image": latent}
    drawn = sheet.put(sample, "KSampler", model=noise[1], **settings)
    shown = sheet.show(sample, drawn, "a set in parts", EIGHT)
    pick = sheet.put(chosen, "DiversityPick", images=shown.enlarged, count=4)
    sheet.save(chosen, pick[1], "contact sheet", FOUR)

    def draw(client: HostClient) -> list[Picture]:
        pictures = []
        for part in range(QUEUES):
            prompt = json.loads(json.dumps(sheet.graph.prompt))
            prompt[noise.id]["inputs"]["part"] = part
            pictures += pictures_of(client, client.run(prompt), shown.saved)
        return pictures

    note = (
        "## One set, part after part\n\n"
        "**Start From Different Noise** makes sixteen initial noises as one set: their lowest frequencies, which "
        "carry composition, are chosen together. Queue twice: **part** counts on by itself, and the second eight "
        "images continue where the first eight ended.\n\n"
        "**set_seed** chooses the set; the sampler's own seed no longer matters here. Set **part** back to 0 to "
        "generate the first eight again.\n\n"
        "**Pick Representatives** picks the four of each eight that represent them best: typical ones that differ from "
        "one another."
    )
    return Example(
        "One set of initial noises, part after part",
        sheet,
        {MODEL: BLUE, designed: PURPLE, sample: GREEN, chosen: GREEN},
        note,
        draw,
        counted={"DiversityNoise": "part"},
    )


NOISE_EXAMPLES = (set_in_parts,)
