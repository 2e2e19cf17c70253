"""The example workflows of Feature Guidance: a batch spread along what the model's own draws differ in, and the way
between two groups of exemplars.

All exemplars are drawn by the embedded model, so that the files need no pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graphs import Node
from .plan import Fold
from .sheet import (
    BLUE,
    BROWN,
    GREY,
    MODEL,
    PURPLE,
    SAMPLER,
    Example,
    Sheet,
    drawing,
    enlarged,
    prompt_and_size,
    sampled,
)

SUBJECT = "doctor"
GROUPS = ("light skin", "dark skin")
BATCH = 4
STRENGTH = 0.5
DRAWS = 32
SPREAD = 8


def along_what_the_model_knows(object_info: Mapping[str, Any]) -> Example:
    """One prompt, seed and CFG, as it is and spread along the axes of a batch at CFG 1."""
    learn, plain, spread = "2. Learn how images differ", "3. As it is", "4. Spread"
    sheet = Sheet(object_info)
    prompts, few = sheet.prompts(SUBJECT), sheet.empty(SPREAD)
    many = sheet.empty(DRAWS, learn)
    settings = {**SAMPLER, **prompts}
    learned = {**settings, "cfg": 1.0, "seed": 7, "latent_image": many}
    drawn = sheet.put(learn, "KSampler", model=sheet.demo, **learned)
    probed = {"positive": prompts["positive"], "latents": drawn}
    reference = sheet.put(learn, "DiversityFeatureProbe", model=sheet.demo, **probed)
    guided = sheet.put(spread, "DiversityFeatureGuidance", model=sheet.demo, mode="spread", reference=reference)
    settings |= {"latent_image": few, "seed": 1}
    alike = sheet.put(plain, "KSampler", model=sheet.demo, **settings)
    first = sheet.show(plain, alike, "as it is")
    different = sheet.put(spread, "KSampler", stack=1, model=guided, **settings)
    second = sheet.show(spread, different, "spread", stack=1)
    note = (
        "## Spread along what the model knows\n\n"
        "One prompt, one seed, CFG 5, twice. In frame 3 the model as it is: CFG has given up most of what it could "
        "generate. In frame 4 **Steer Towards or Away** moves every image of the batch in another direction.\n\n"
        "The directions come from the model itself: a batch at CFG 1 is generated once, and **Learn From Examples** "
        "records how its images differ. Use at least 16 images, with the prompt and size that you generate.\n\n"
        "**strength** is how far, in standard deviations of those images. It is off at 0."
    )
    batch = Fold("Generate 32 at CFG 1", (many, drawn), [(many, "batch_size"), (drawn, "seed")])
    return Example(
        "Spread along what the model knows",
        sheet,
        {MODEL: BLUE, learn: BROWN, plain: GREY, spread: PURPLE},
        note,
        drawing(sheet, first.saved, second.saved),
        [batch, enlarged(first), enlarged(second)],
    )


def way_between_two_groups(object_info: Mapping[str, Any]) -> Example:
    """One prompt and seed: as it is, towards two groups, and halfway between them."""
    learn, plain = "2. Learn two groups", "3. As it is"
    frames = ("4. Towards light skin", "5. Halfway", "6. Towards dark skin")
    sheet = Sheet(object_info)
    prompts = sheet.prompts(SUBJECT)
    many, few = sheet.empty(8, learn), sheet.empty(BATCH)
    inside: list[Node] = [many]

    def probe(prompt: Node, cfg: float, seed: int) -> Node:
        settings = {**SAMPLER, "cfg": cfg, "seed": seed, "positive": prompt, "negative": prompts["negative"]}
        drawn = sheet.put(learn, "KSampler", model=sheet.demo, latent_image=many, **settings)
        probed = {"positive": prompts["positive"], "latents": drawn}
        inside.extend([drawn, found := sheet.put(learn, "DiversityFeatureProbe", model=sheet.demo, **probed)])
        return found

    reference = probe(prompts["positive"], 1.0, 7)
    words = [sheet.say(f"{SUBJECT} {group}", group, learn) for group in GROUPS]
    centroids = [probe(prompt, 1.5, 8 + number) for number, prompt in enumerate(words)]
    pair = {"first": centroids[0], "second": centroids[1]}
    blend = sheet.put(learn, "DiversityFeatureBlend", **pair)
    drawn_map = sheet.put(learn, "DiversityFeatureMap", **pair, third=blend, fourth=reference)
    sheet.put(learn, "PreviewImage", called="Map of the groups", size=(320, 340), images=drawn_map)
    inside += [*words, blend, drawn_map]
    settings = {**prompts, **SAMPLER, "cfg": 2.0, "seed": 1, "latent_image": few}
    alike = sheet.put(plain, "KSampler", model=sheet.demo, **settings)
    shown = {plain: sheet.show(plain, alike, "as it is", SHOWN)}
    folds = [sampled("Sample as it is", alike, shown[plain])]
    for frame, centroid in zip(frames, (centroids[0], blend, centroids[1]), strict=True):
        steering = {"centroid": centroid, "reference": reference, "strength": STRENGTH}
        guided = sheet.put(frame, "DiversityFeatureGuidance", model=sheet.demo, **steering)
        drawn = sheet.put(frame, "KSampler", model=guided, **settings)
        shown[frame] = sheet.show(frame, drawn, frame[3:].lower(), SHOWN)
        made = sampled(f"Steer {frame[3:].lower()}", drawn, shown[frame], guided)
        folds.append(Fold(made.title, made.nodes, [(guided, "strength"), *made.widgets], made.names))
    names = {(reference, "centroid"): "reference", (blend, "centroid"): "halfway", (drawn_map, "map"): "map"}
    names |= {(centroid, "centroid"): group for centroid, group in zip(centroids, GROUPS, strict=True)}
    weights = [(blend, "weight_first"), (blend, "weight_second")]
    groups = Fold("Generate and learn two groups", inside, [*((word, "text") for word in words), *weights], names)
    prompt = prompt_and_size(prompts, few)
    note = (
        "## The way between two groups\n\n"
        "One prompt, one seed, four times: the model as it is; and with **Steer Towards or Away**, which shifts the "
        "channel means of the network: towards light skin, halfway, and towards dark skin. The prompt does not "
        "mention skin at all. **strength** is how far: 1 is the centroid itself. Skin is easy to reach, so 0.5 shows "
        "best what lies between; the default of 1.5 reaches groups that are hard to reach.\n\n"
        "**Learn From Examples** records those means. Here the model generates the examples itself, from prompts "
        "that say what they show; connect images of your own instead. The reference is what the model generates for "
        "the prompt by itself at CFG 1. The map shows how far apart the groups are.\n\n"
        "The weights of **Blend Feature Centroids** move what is halfway; below 0 they lead beyond a group.\n\n"
        "All of this is folded: the button at the top right of a node opens it."
    )
    return Example(
        "The way between two groups of exemplars",
        sheet,
        {MODEL: BLUE, learn: BROWN, plain: GREY, **dict.fromkeys(frames, PURPLE)},
        note,
        drawing(sheet, *(one.saved for one in shown.values())),
        [prompt, groups, *folds],
        level=(plain, *frames),
    )


SHOWN = (320, 340)
FEATURE_EXAMPLES = (along_what_the_model_knows, way_between_two_groups)
