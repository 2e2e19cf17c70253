"""The example workflows of Vendi Guidance: exemplars, exemplars of one kind only, and one memory for two prompts.

The exemplars are drawn by the embedded model from prompts that say what they show, so that the files need no pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .examples import SAMPLER, Example, Sheet
from .graphs import Node

SUBJECT = "doctor"
EIGHT = {"width": 64, "height": 64, "batch_size": 8}
KINDS = ("dark skin", "light skin", "medium skin", "default skin")


class VendiSheet(Sheet):
    """A sheet with the embedded model on it."""

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        super().__init__(object_info)
        self.demo = self.put((20, 60, 300, 90), "DiversityDemoModel")
        self.negative = self.say((20, 230, 300, 90), "")

    def say(self, place: tuple[int, int, int, int], text: str) -> Node:
        """A prompt."""
        return self.put(place, "CLIPTextEncode", clip=self.demo[1], text=text)

    def draw(self, place: tuple[int, int, int, int], model: Any, positive: Node, latent: Node, **sampler: Any) -> Node:
        """A sampler."""
        settings = {**SAMPLER, "seed": 1, **sampler}
        conditions = {"positive": positive, "negative": self.negative, "latent_image": latent}
        return self.put(place, "KSampler", model=model, **conditions, **settings)

    def real_pictures(self, top: int, kinds: Sequence[str]) -> tuple[Node, Node]:
        """An Exemplar Set of one picture of each kind, and where these are saved."""
        latent = self.put((20, top, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=1)
        batch: Node | None = None
        for number, kind in enumerate(kinds):
            x = 380 + 340 * number
            prompt = self.say((x, top, 300, 90), f"{SUBJECT} {kind}")
            drawn = self.draw((x, top + 140, 300, 270), self.demo, prompt, latent, cfg=1.5, seed=number)
            picture = self.put((x, top + 460, 210, 50), "VAEDecode", samples=drawn, vae=self.demo[2])
            if batch is not None:
                picture = self.put((x, top + 560, 210, 50), "ImageBatch", image1=batch, image2=picture)
            batch = picture
        chosen = self.put((20, top + 460, 300, 110), "DiversityExemplarSet", images=batch, vae=self.demo[2])
        large = self.put(
            (1740, top, 260, 130), "ImageScaleBy", image=batch, upscale_method="nearest-exact", scale_by=3.0
        )
        return chosen, self.put((2040, top, 560, 400), "SaveImage", images=large, filename_prefix="exemplars")


def exemplars(object_info: Mapping[str, Any]) -> Example:
    """The same prompt and seed as it is, spread out, and spread out near exemplars."""
    return _compared(
        object_info,
        "Vendi Guidance without and with exemplars",
        KINDS,
        "## With and without exemplars\n\n"
        "Above, the model as it is. In the middle, **Spread Out a Batch** makes the eight images differ. Below, the "
        "same with four **exemplars**, which show what the subject may look like.\n\n"
        "Here the exemplars are generated from prompts that say what they show. With your own model, put photographs "
        "into a folder of ComfyUI's input directory and give its name to **Load Real Examples**.",
    )


def biased_exemplars(object_info: Mapping[str, Any]) -> Example:
    """Exemplars of one skin tone only, and what they do to all pictures."""
    return _compared(
        object_info,
        "Exemplars of one kind only",
        (KINDS[0],) * 4,
        "## What exemplars of one kind do\n\n"
        "All four exemplars show the same skin tone. Above, the model as it is; in the middle, **Spread Out a Batch** "
        "without exemplars; below, with them. Raise **beta** of **Vendi Guidance Options**, and everything is pulled "
        "towards the kind that the exemplars show: choose exemplars as different as the images that you want.",
    )


def two_prompts(object_info: Mapping[str, Any]) -> Example:
    """One memory for two prompts: only pictures of the same subject count."""
    sheet = VendiSheet(object_info)
    latent = sheet.put((20, 380, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=4)
    words = [
        sheet.put((380 + 360 * n, 60, 300, 80), "PrimitiveString", value=w) for n, w in enumerate((SUBJECT, "wave"))
    ]
    prompts = [
        sheet.put((380 + 360 * n, 200, 300, 110), "CLIPTextEncode", clip=sheet.demo[1], text=word)
        for n, word in enumerate(words)
    ]
    # The seed stays the same. So the prompt counts from the first step on, where the bank can still change what becomes
    # of the noise, and early estimates already see the finished images that they would become.
    score = sheet.put((-700, 580, 300, 180), "DiversityVendiScoreOptions", bandwidth=0.25)
    options = sheet.put((-340, 580, 300, 250), "DiversityVendiGuidanceOptions", cfg_easing=1.0, options=score)
    savers = []
    bank: Node | None = None
    for row, number in enumerate((0, 1, 0, 1)):
        y = 580 + 480 * row
        steered = sheet.put(
            (380, y, 300, 420),
            "DiversityVendiGuidance",
            model=sheet.demo,
            options=options,
            prompt=words[number],
            **({} if bank is None else {"bank": bank[1]}),
        )
        drawn = sheet.draw((740, y, 300, 270), steered, prompts[number], latent)
        bank = sheet.put(
            (1100, y, 300, 250),
            "DiversityRemember",
            samples=drawn,
            model=sheet.demo,
            name="",
            prompt=words[number],
            **({} if bank is None else {"bank": bank[1]}),
        )
        savers.append(sheet.show((1460, y, 560, 400), bank, sheet.demo, "two prompts"))
    sheet.places["note"] = (20, 580, 320, 330)

    note = (
        "## One memory, two prompts\n\n"
        "The bank is passed on from row to row and knows the prompt of each image. **Spread Out a Batch** is given "
        "the **prompt** too: the second row is not kept away from the first, which shows something else, while the "
        "third and fourth differ from the rows of their own prompt.\n\n"
        "Without **prompt**, every image of the bank counts.\n\n"
        "The seed stays the same in all rows. That is why **cfg_easing** is set: it keeps the prompt in the first "
        "steps. Presets leave it out there, and then the same noise gives the same kind of image."
    )
    return Example("One memory for two prompts", sheet.graph, sheet.places, note, sheet.drawing(*savers))


def _compared(object_info: Mapping[str, Any], title: str, kinds: Sequence[str], note: str) -> Example:
    """Eight pictures three times: as they are, spread out, and spread out near exemplars."""
    sheet = VendiSheet(object_info)
    latent = sheet.put((20, 380, 300, 130), "EmptySD3LatentImage", **EIGHT)
    prompt = sheet.say((20, 560, 300, 90), SUBJECT)
    real, shown = sheet.real_pictures(1600, kinds)
    spread = sheet.put((380, 540, 300, 480), "DiversityVendiGuidance", model=sheet.demo)
    near = sheet.put((380, 1060, 300, 480), "DiversityVendiGuidance", model=sheet.demo, exemplars=real)
    savers = [shown]
    for row, model in enumerate((sheet.demo, spread, near)):
        drawn = sheet.draw((740, 60 + 500 * row, 300, 270), model, prompt, latent)
        savers.append(sheet.show((1100, 60 + 500 * row, 560, 400), drawn, sheet.demo, "vendi"))
    sheet.places["note"] = (20, 700, 320, 330)

    # Four of each: exemplars, as it is, spread out, near the exemplars.
    return Example(title, sheet.graph, sheet.places, note, sheet.drawing(*savers, of_each=4))


VENDI_EXAMPLES = (exemplars, biased_exemplars, two_prompts)
