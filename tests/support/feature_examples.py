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
        "One prompt, one seed, four times. The top row is the model as it is. Below, **Feature Guidance** shifts what "
        "the network's layers hold on average: towards light skin, halfway, and towards dark skin. The prompt never "
        "says a word of it. `strength` is how far: 1 is the centroid itself. Skin is reached easily, so 0.5 shows best "
        "what lies between; the default of 1.5 brings groups that are hard to reach.\n\n"
        "**Feature Probe** reads those averages from exemplars. Here the model draws them itself, from prompts that "
        "say what they show; wire pictures of your own instead. The reference is what the model draws by itself at "
        "CFG 1.\n\n"
        "Weights of **Blend Feature Centroids** move the middle row; below 0 they lead past a group."
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
        "One prompt, one seed, CFG 5, twice. Above the model as it is: CFG has given up most of what it could draw. "
        "Below, **Feature Guidance** leads every picture of the batch another way.\n\n"
        "The ways come from the model itself: a batch at CFG 1 (left) is drawn once, and **Feature Probe** reads in "
        "what its pictures differ. Use at least 16 pictures, and the prompt and size that you draw.\n\n"
        "`strength` is how far, in standard deviations of those pictures; 0 is off."
    )
    return Example("Spread along what the model knows", sheet.graph, sheet.places, note, sheet.drawing(*saved))


FEATURE_EXAMPLES = (way_between_two_groups, along_what_the_model_knows)
