"""The first example workflows: images of a batch that differ, with CFG and distilled, and a memory that grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graphs import pictures_of
from .host_client import HostClient
from .sheet import BLUE, FOUR, GREEN, GREY, MODEL, PURPLE, SAMPLER, TURBO, Example, Picture, Sheet, drawing, sampled


def alike_and_different(object_info: Mapping[str, Any]) -> Example:
    """The same prompt and seed twice, as it is and with Sparse Repellency within the batch."""
    plain, kept = "2. As it is", "3. Kept apart"
    sheet = Sheet(object_info)
    common = {**sheet.prompts("doctor"), **SAMPLER, "latent_image": sheet.empty(8), "seed": 1}
    alike = sheet.put(plain, "KSampler", model=sheet.demo, **common)
    first = sheet.show(plain, alike, "eight alike")
    repelled = sheet.put(kept, "DiversitySparseRepellency", model=sheet.demo)
    different = sheet.put(kept, "KSampler", stack=1, model=repelled, **common)
    second = sheet.show(kept, different, "eight different", stack=1)
    note = (
        "## Eight alike, eight different\n\n"
        "One prompt, one seed, one queue. On the left, the model as it is: it gives nearly the same image again and "
        "again. On the right, **Keep Images Apart** keeps the eight images apart while they are being decided.\n\n"
        "**preset** is how far apart, and **strength** multiplies it. At strength 0 both batches are the same.\n\n"
        "Nothing needs to be downloaded: the model is part of the pack and generates emoji. Connect your own model "
        "instead."
    )
    return Example(
        "Same prompt, eight alike and eight different",
        sheet,
        {MODEL: BLUE, plain: GREY, kept: PURPLE},
        note,
        drawing(sheet, first.saved, second.saved),
    )


def turbo(object_info: Mapping[str, Any]) -> Example:
    """A distilled model at 8 steps and CFG 1: as it is, and with both guidance nodes."""
    frames = plain, kept, spread = "2. As it is", "3. Kept apart", "4. Spread out"
    sheet = Sheet(object_info, "turbo")
    common = {**sheet.prompts("elf"), **TURBO, "latent_image": sheet.empty(8), "seed": 1}
    repelled = sheet.put(kept, "DiversitySparseRepellency", model=sheet.demo)
    spread_out = sheet.put(spread, "DiversityVendiGuidance", model=sheet.demo)
    folds, savers = [], []
    for frame, model in zip(frames, (sheet.demo, repelled, spread_out), strict=True):
        sampler = sheet.put(frame, "KSampler", model=model, **common)
        shown = sheet.show(frame, sampler, f"turbo {frame[3:].lower()}")
        folds.append(sampled(f"Sample {frame[3:].lower()}", sampler, shown))
        savers.append(shown.saved)
    note = (
        "## A turbo model: 8 steps, CFG 1\n\n"
        "Distilled models repeat themselves most. One prompt and one seed, three times: as it is, with **Keep Images "
        "Apart**, and with **Spread Out a Batch**. Neither takes a single further step.\n\n"
        "**Keep the negative prompt connected**, even an empty one. At CFG 1 the sampler does not use it; the first "
        "steps follow it instead of the prompt, while the image is being decided.\n\n"
        "**Still alike?** Take the preset **strong**. **Too far from the prompt?** Take **subtle**.\n\n"
        "The samplers are folded: the button at the top right of a node opens it."
    )
    return Example(
        "Turbo model, three times eight images",
        sheet,
        {MODEL: BLUE, plain: GREY, kept: PURPLE, spread: PURPLE},
        note,
        drawing(sheet, *savers[:2]),
        folds,
        level=frames,
    )


def growing_bank(object_info: Mapping[str, Any]) -> Example:
    """Every queue keeps away from what the earlier ones drew, although prompt and seed stay the same."""
    queues, batch = 4, 4
    apart, sample, result = "2. Keep away from the bank", "3. Sample and save to the bank", "4. Result"
    sheet = Sheet(object_info)
    bank = sheet.put(apart, "DiversityMemoryBank", name="first steps")
    options = sheet.put(apart, "DiversitySparseRepellencyOptions", radius=0.5)
    repelled = sheet.put(apart, "DiversitySparseRepellency", model=sheet.demo, bank=bank, options=options)
    common = {**sheet.prompts("woman police officer"), **SAMPLER, "latent_image": sheet.empty(batch), "seed": 1}
    drawn = sheet.put(sample, "KSampler", model=repelled, **common)
    remembered = sheet.put(sample, "DiversityRemember", samples=drawn, model=sheet.demo, name="first steps")
    shown = sheet.show(result, remembered, "first steps", FOUR)

    def draw(client: HostClient) -> list[Picture]:
        runs = [client.run(sheet.graph.prompt) for _ in range(queues)]
        return [picture for run in runs for picture in pictures_of(client, run, shown.saved)]

    note = (
        "## A memory that grows\n\n"
        "Queue this several times. The seed stays the same, and still every queue generates something else: **Save "
        "to Memory Bank** adds the new images to the bank, and **Keep Images Apart** keeps the next ones away from "
        "all of them.\n\n"
        "Every image notes in its metadata which revision of the bank it was generated with. Set **revision** of "
        "**Load Memory Bank** to it to generate that image again; -1 is the newest.\n\n"
        "Another **name** begins another bank."
    )
    colours = {MODEL: BLUE, apart: PURPLE, sample: PURPLE, result: GREEN}
    return Example("Memory bank that grows with every queue", sheet, colours, note, draw)


FIRST_EXAMPLES = (alike_and_different, turbo, growing_bank)
