"""The example workflows of Vendi Guidance: exemplars, exemplars of one kind only, and one memory for two prompts.

The exemplars are drawn by the embedded model from prompts that say what they show, so that the files need no pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    prompt_and_size,
    sampled,
)

SUBJECT = "doctor"
KINDS = ("dark skin", "light skin", "medium skin", "default skin")
WOMEN = "police officer", tuple(f"woman {kind}" for kind in KINDS)
"""What the model seldom generates for this subject by itself."""

SIZE = (420, 280)
"""Of a node that shows eight images, where there are many."""


def exemplars(object_info: Mapping[str, Any]) -> Example:
    """The same prompt and seed as it is, spread out, and spread out near exemplars."""
    return _compared(
        object_info,
        "Vendi Guidance without and with exemplars",
        *WOMEN,
        "## With and without exemplars\n\n"
        "One prompt and one seed, three times: as it is; with **Spread Out a Batch**, which makes the eight images "
        "differ; and with **exemplars**, which show what the subject may look like: here women of four skin tones. The "
        "prompt of the eight images stays the same.\n\n"
        "The four exemplars are generated from prompts that say what they show. With your own model, put "
        "photographs into a folder of ComfyUI's input directory and give its name to **Load Real Examples**.\n\n"
        "Samplers and exemplars are folded: the button at the top right of a node opens it.",
    )


def biased_exemplars(object_info: Mapping[str, Any]) -> Example:
    """Exemplars of one skin tone only, and what they do to all pictures."""
    return _compared(
        object_info,
        "Exemplars of one kind only",
        SUBJECT,
        (KINDS[0],) * 4,
        "## What exemplars of one kind do\n\n"
        "All four exemplars show the same skin tone. One prompt and one seed, three times: as it is; with **Spread "
        "Out a Batch** alone; and with these exemplars. Raise **beta** of **Vendi Guidance Options**, and everything "
        "is pulled towards the kind that the exemplars show: choose exemplars as different as the images that you "
        "want.\n\n"
        "Samplers and exemplars are folded: the button at the top right of a node opens it.",
    )


def real_pictures(
    sheet: Sheet, frame: str, subject: str, kinds: Sequence[str], negative: Node
) -> tuple[Node, Node, Fold]:
    """An Exemplar Set of one picture of each kind, where these are saved, and the node that makes them."""
    latent = sheet.empty(1, frame)
    inside = [latent]
    batch: Node | None = None
    for number, kind in enumerate(kinds):
        prompt = sheet.say(f"{subject} {kind}", f"Exemplar {number + 1}", frame)
        settings = {**SAMPLER, "cfg": 1.5, "seed": number}
        conditions = {"positive": prompt, "negative": negative, "latent_image": latent}
        sampler = sheet.put(frame, "KSampler", model=sheet.demo, **conditions, **settings)
        picture = sheet.put(frame, "VAEDecode", samples=sampler, vae=sheet.demo[2])
        inside += [prompt, sampler, picture]
        if batch is not None:
            picture = sheet.put(frame, "ImageBatch", image1=batch, image2=picture)
            inside.append(picture)
        batch = picture
    assert batch is not None
    method = {"upscale_method": "lanczos", "scale_by": 4.0}
    large = sheet.put(frame, "ImageScaleBy", image=batch, **method)
    chosen = sheet.put(frame, "DiversityExemplarSet", images=batch, vae=sheet.demo[2])
    saved = sheet.save(frame, large, "exemplars", (320, 340))
    prompts = [node for node in inside if sheet.graph.prompt[node.id]["class_type"] == "CLIPTextEncode"]
    names = {(batch, "IMAGE"): "images", (large, "IMAGE"): "enlarged"}
    folded = Fold("Generate four exemplars", (*inside, large), [(prompt, "text") for prompt in prompts], names)
    return chosen, saved, folded


def _compared(object_info: Mapping[str, Any], title: str, subject: str, kinds: Sequence[str], note: str) -> Example:
    """Eight pictures three times: as they are, spread out, and spread out near exemplars."""
    real = "2. Exemplars"
    frames = plain, spread, near = "3. As it is", "4. Spread out", "5. Spread out near the exemplars"
    sheet = Sheet(object_info)
    prompts = sheet.prompts(subject)
    latent = sheet.empty(8)
    chosen, shown, exemplified = real_pictures(sheet, real, subject, kinds, prompts["negative"])
    models = {
        plain: sheet.demo,
        spread: sheet.put(spread, "DiversityVendiGuidance", model=sheet.demo),
        near: sheet.put(near, "DiversityVendiGuidance", model=sheet.demo, exemplars=chosen),
    }
    savers, folds = [shown], [exemplified]
    words = prompt_and_size(prompts, latent)
    for frame in frames:
        sampler = sheet.put(frame, "KSampler", model=models[frame], latent_image=latent, seed=1, **prompts, **SAMPLER)
        made = sheet.show(frame, sampler, "vendi", SIZE)
        folds.append(sampled(f"Sample {frame[3:].lower()}", sampler, made))
        savers.append(made.saved)

    # Four of each: exemplars, as it is, spread out, near the exemplars.
    return Example(
        title,
        sheet,
        {MODEL: BLUE, real: BROWN, plain: GREY, spread: PURPLE, near: PURPLE},
        note,
        drawing(sheet, *savers, of_each=4),
        [words, *folds],
        level=frames,
    )


def two_prompts(object_info: Mapping[str, Any]) -> Example:
    """One memory for two prompts: only pictures of the same subject count."""
    first, other, again = "2. Doctors", "3. The same bank: waves", "4. Doctors again: other ones"
    back = "5. Waves again: other ones"
    sheet = Sheet(object_info)
    negative = sheet.say("", "Negative prompt")
    latent = sheet.empty(4)
    words = [sheet.put(MODEL, "PrimitiveString", called=text, value=text) for text in (SUBJECT, "wave")]
    prompts = [sheet.say(word, called) for word, called in zip(words, (SUBJECT, "wave"), strict=True)]
    folded_words = Fold(
        "Two prompts",
        (*words, *prompts, negative, latent),
        [(word, "value") for word in words],
        {(word, "STRING"): f"{name} (text)" for word, name in zip(words, (SUBJECT, "wave"), strict=True)}
        | {(prompt, "CONDITIONING"): name for prompt, name in zip(prompts, (SUBJECT, "wave"), strict=True)}
        | {(negative, "CONDITIONING"): "negative"},
    )
    # The seed stays the same. So the prompt counts from the first step on, where the bank can still change what becomes
    # of the noise, and early estimates already see the finished images that they would become.
    score = sheet.put(MODEL, "DiversityVendiScoreOptions", bandwidth=0.25)
    options = sheet.put(MODEL, "DiversityVendiGuidanceOptions", cfg_easing=1.0, options=score)
    savers, folds = [], [folded_words, Fold("Options", (score, options), [(options, "cfg_easing")])]
    bank: Node | None = None
    for frame, number in ((first, 0), (other, 1), (again, 0), (back, 1)):
        known = {} if bank is None else {"bank": bank[1]}
        steered = sheet.put(
            frame, "DiversityVendiGuidance", model=sheet.demo, options=options, prompt=words[number], **known
        )
        settings = {"positive": prompts[number], "negative": negative, "latent_image": latent, "seed": 1, **SAMPLER}
        drawn = sheet.put(frame, "KSampler", model=steered, **settings)
        saved = {"samples": drawn, "model": sheet.demo, "name": "", "prompt": words[number], **known}
        stack = 1 if frame == again else 0
        bank = sheet.put(frame, "DiversityRemember", stack=stack, **saved)
        made = sheet.show(frame, drawn, "two prompts", (320, 340), stack)
        savers.append(made.saved)
        inside = () if frame == again else (steered, bank)
        folds.append(
            sampled("Sample" if frame == again else f"Sample and save {frame[3:].lower()}", drawn, made, *inside)
        )
    note = (
        "## One memory, two prompts\n\n"
        "The bank is passed on from frame to frame and knows the prompt of each image. **Spread Out a Batch** is given "
        "the **prompt** too: the waves are not kept away from the doctors, which show something else, while the "
        "second doctors and waves differ from the first ones.\n\n"
        "Frame 4 is unfolded; the others hold the same nodes. Without **prompt**, every image of the bank counts.\n\n"
        "The seed stays the same in all frames. That is why **cfg_easing** is set: it keeps the prompt in the first "
        "steps. Presets leave it out there, and then the same noise gives the same kind of image."
    )
    return Example(
        "One memory for two prompts",
        sheet,
        {MODEL: BLUE, first: GREY, other: GREY, again: PURPLE, back: PURPLE},
        note,
        drawing(sheet, *savers),
        folds,
        level=(first, other, again, back),
    )


VENDI_EXAMPLES = (exemplars, biased_exemplars, two_prompts)
