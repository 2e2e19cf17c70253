"""The example workflow of Protected Indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .examples import SAMPLER, Example, Sheet


def never_again(object_info: Mapping[str, Any]) -> Example:
    """Pictures are drawn and protected; the same prompt and seed then draw others, whatever the sampler does."""
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")
    prompts = sheet.prompts(demo, "woman astronaut")
    latent = sheet.put((380, 380, 300, 130), "EmptySD3LatentImage", width=64, height=64, batch_size=8)
    common = {**prompts, **SAMPLER, "latent_image": latent, "seed": 1}
    drawn = sheet.put((740, 60, 300, 270), "KSampler", model=demo, **common)
    first = sheet.show((1100, 60, 560, 400), drawn, demo, "protected")
    decoded = sheet.graph.prompt[first.id]["inputs"]["images"][0]
    images = sheet.graph.prompt[decoded]["inputs"]["image"]
    built = sheet.put(
        (380, 580, 300, 230),
        "DiversityBuildProtectedIndex",
        images=images,
        vae=demo[2],
        model=demo,
        name="example",
        width=64,
        height=64,
    )
    repelled = sheet.put(
        (380, 880, 300, 330),
        "DiversitySparseRepellency",
        model=demo,
        protected=built,
        ensure_outside=True,
        keep_apart="bank only",
    )
    kept_away = sheet.put((740, 580, 300, 270), "KSampler", model=repelled, **common)
    second = sheet.show((1100, 580, 560, 400), kept_away, demo, "never again")
    decoded_away = sheet.graph.prompt[sheet.graph.prompt[second.id]["inputs"]["images"][0]]["inputs"]["image"]
    compared_with = sheet.put(
        (1740, 1060, 400, 180),
        "DiversityReportProtectionOptions",
        protected=built,
        model=demo,
        before_samples=drawn,
    )
    report = sheet.put(
        (1740, 60, 400, 940),
        "DiversityReport",
        images=decoded_away,
        before=images,
        trace=repelled[1],
        samples=kept_away,
        options=compared_with,
        filename_prefix="diversity/never again",
    )
    sheet.put((2190, 60, 700, 940), "SaveImage", images=report, filename_prefix="diversity/never again")
    sheet.places["note"] = (20, 580, 320, 370)

    note = (
        "## Never the same image again\n\n"
        "Above, eight images are generated, and **Build Protected Index** adds them to an index on disk. Below, the "
        "same prompt and seed run again, and **Keep Images Apart** keeps away from everything in the index.\n\n"
        "With **ensure_outside** no finished image is within the radius of a protected one. The node says so, and "
        "which protected image was nearest.\n\n"
        "On the right, **Measure Variety** compares both batches with the index: how near each image is to a "
        "protected one, and which ones are inside a shield.\n\n"
        "For your own images, give a **folder** of ComfyUI's input directory instead. Later workflows only need "
        "**Load Protected Index** with the name."
    )
    return Example(
        "Images that are never generated again", sheet.graph, sheet.places, note, sheet.drawing(first, second)
    )


INDEX_EXAMPLES = (never_again,)
