"""The example workflows of Feature Guidance: the way between two groups of exemplars, and a batch spread along what the
model's own draws differ in.

All exemplars are drawn by the embedded model, so that the files need no pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .examples import SAMPLER, Example, Sheet
from .graphs import Node

SUBJECT = "doctor"
GROUPS = ("light skin", "dark skin")
BATCH = 4
STRENGTH = 0.5
DRAWS = 32
SPREAD = 8


def way_between_two_groups(object_info: Mapping[str, Any]) -> Example:
    """One prompt and seed: as it is, towards two groups, and halfway between them."""
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")

    def say(place: tuple[int, int, int, int], text: str) -> Node:
        return sheet.put(place, "CLIPTextEncode", clip=demo[1], text=text)

    positive, negative = say((20, 230, 300, 90), SUBJECT), say((20, 380, 300, 90), "")
    many = sheet.put((20, 530, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=8)
    few = sheet.put((20, 720, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=BATCH)

    def draw_batch(x: int, y: int, model: Any, prompt: Node, latent: Node, cfg: float, seed: int) -> Node:
        settings = {**SAMPLER, "cfg": cfg, "seed": seed}
        return sheet.put(
            (x, y, 300, 270),
            "KSampler",
            model=model,
            positive=prompt,
            negative=negative,
            latent_image=latent,
            **settings,
        )

    def look(y: int, drawn: Node) -> Node:
        return sheet.put((1100, y, 300, 270), "DiversityFeatureProbe", model=demo, positive=positive, latents=drawn)

    reference = look(60, draw_batch(740, 60, demo, positive, many, 1.0, 7))
    centroids = []
    for number, group in enumerate(GROUPS):
        y = 400 + 340 * number
        prompt = say((400, y, 300, 90), f"{SUBJECT} {group}")
        centroids.append(look(y, draw_batch(740, y, demo, prompt, many, 1.5, 8 + number)))
    blend = sheet.put((1440, 400, 300, 250), "DiversityFeatureBlend", first=centroids[0], second=centroids[1])
    drawn_map = sheet.put(
        (1440, 740, 300, 150),
        "DiversityFeatureMap",
        first=centroids[0],
        second=centroids[1],
        third=blend,
        fourth=reference,
    )
    sheet.put((1440, 940, 300, 300), "PreviewImage", images=drawn_map)
    saved = [sheet.show((2500, 60, 400, 300), draw_batch(2160, 60, demo, positive, few, 2.0, 1), demo, "as it is")]
    towards = {GROUPS[0]: centroids[0], "halfway": blend, GROUPS[1]: centroids[1]}
    for number, (name, centroid) in enumerate(towards.items()):
        y = 400 + 340 * number
        guided = sheet.put(
            (1800, y, 300, 230),
            "DiversityFeatureGuidance",
            model=demo,
            centroid=centroid,
            reference=reference,
            strength=STRENGTH,
        )
        saved.append(sheet.show((2500, y, 400, 300), draw_batch(2160, y, guided, positive, few, 2.0, 1), demo, name))
    sheet.places["note"] = (20, 900, 660, 330)

    note = (
        "## The way between two groups\n\n"
        "One prompt, one seed, four times. The top row is the model as it is. Below, **Steer Towards or Away** "
        "shifts the channel means of the network: towards light skin, halfway, and towards dark skin. The prompt "
        "does not mention skin at all. **strength** is how far: 1 is the centroid itself. Skin is easy to reach, so "
        "0.5 shows best what lies between; the default of 1.5 reaches groups that are hard to reach.\n\n"
        "**Learn From Examples** records those means. Here the model generates the examples itself, from prompts "
        "that say what they show; connect images of your own instead. The reference is what the model generates for "
        "the prompt by itself at CFG 1.\n\n"
        "The weights of **Blend Feature Centroids** move the middle row; below 0 they lead beyond a group."
    )
    return Example("The way between two groups of exemplars", sheet.graph, sheet.places, note, sheet.drawing(*saved))


def along_what_the_model_knows(object_info: Mapping[str, Any]) -> Example:
    """One prompt, seed and CFG, as it is and spread along the axes of a batch at CFG 1."""
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")
    prompts = sheet.prompts(demo, SUBJECT)
    many = sheet.put((380, 380, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=DRAWS)
    few = sheet.put((1440, 60, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=SPREAD)
    settings = {**SAMPLER, **prompts}
    drawn = sheet.put(
        (740, 60, 300, 270), "KSampler", model=demo, latent_image=many, **{**settings, "cfg": 1.0, "seed": 7}
    )
    reference = sheet.put(
        (1080, 60, 300, 270), "DiversityFeatureProbe", model=demo, positive=prompts["positive"], latents=drawn
    )
    guided = sheet.put(
        (1440, 400, 300, 230), "DiversityFeatureGuidance", model=demo, mode="spread", reference=reference
    )
    saved = []
    for y, model, name in ((60, demo, "as it is"), (400, guided, "spread")):
        samples = sheet.put((1800, y, 300, 270), "KSampler", model=model, latent_image=few, **{**settings, "seed": 1})
        saved.append(sheet.show((2160, y, 400, 300), samples, demo, name))
    sheet.places["note"] = (20, 560, 660, 300)

    note = (
        "## Spread along what the model knows\n\n"
        "One prompt, one seed, CFG 5, twice. Above, the model as it is: CFG has given up most of what it could "
        "generate. Below, **Steer Towards or Away** moves every image of the batch in another direction.\n\n"
        "The directions come from the model itself: a batch at CFG 1 (left) is generated once, and **Learn From "
        "Examples** records how its images differ. Use at least 16 images, with the prompt and size that you "
        "generate.\n\n"
        "**strength** is how far, in standard deviations of those images. It is off at 0."
    )
    return Example("Spread along what the model knows", sheet.graph, sheet.places, note, sheet.drawing(*saved))


FEATURE_EXAMPLES = (way_between_two_groups, along_what_the_model_knows)
