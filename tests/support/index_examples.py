"""The example workflow of Protected Indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .report_examples import REPORT
from .sheet import BLUE, GREEN, GREY, MODEL, PURPLE, SAMPLER, Example, Sheet, drawing, enlarged, sampled


def never_again(object_info: Mapping[str, Any]) -> Example:
    """Pictures are drawn and protected; the same prompt and seed then draw others, whatever the sampler does."""
    protect, again, proof = "2. Images to protect", "3. Never again", "4. How near is it?"
    sheet = Sheet(object_info)
    common = {**sheet.prompts("doctor"), **SAMPLER, "latent_image": sheet.empty(8), "seed": 1}
    drawn = sheet.put(protect, "KSampler", model=sheet.demo, **common)
    first = sheet.show(protect, drawn, "protected")
    built = sheet.put(
        protect,
        "DiversityBuildProtectedIndex",
        images=first.decoded,
        vae=sheet.demo[2],
        model=sheet.demo,
        name="example",
        width=64,
        height=64,
    )
    repelled = sheet.put(
        again,
        "DiversitySparseRepellency",
        model=sheet.demo,
        protected=built,
        ensure_outside=True,
        keep_apart="bank only",
    )
    kept_away = sheet.put(again, "KSampler", stack=1, model=repelled, **common)
    second = sheet.show(again, kept_away, "never again", stack=1)
    compared_with = sheet.put(
        proof,
        "DiversityReportProtectionOptions",
        protected=built,
        model=sheet.demo,
        before_samples=drawn,
    )
    sheet.put(
        proof,
        "DiversityReport",
        size=REPORT,
        images=second.decoded,
        before=first.decoded,
        trace=repelled[1],
        samples=kept_away,
        options=compared_with,
        filename_prefix="diversity/never again",
    )
    note = (
        "## Never the same image again\n\n"
        "In frame 2 eight images are generated, and **Build Protected Index** adds them to an index on disk. In frame "
        "3 the same prompt and seed run again, and **Keep Images Apart** keeps away from everything in the index.\n\n"
        "With **ensure_outside** no finished image is within the radius of a protected one. The node says so, and "
        "which protected image was nearest.\n\n"
        "In frame 4 **Measure Variety** compares both batches with the index: how near each image is to a protected "
        "one, and which ones are inside a shield. Connect **Save Image** to its output **report** for all of it.\n\n"
        "For your own images, give a **folder** of ComfyUI's input directory instead. Later workflows only need "
        "**Load Protected Index** with the name."
    )
    return Example(
        "Images that are never generated again",
        sheet,
        {MODEL: BLUE, protect: GREY, again: PURPLE, proof: GREEN},
        note,
        drawing(sheet, first.saved, second.saved),
        [sampled("Sample the images to protect", drawn, first), enlarged(second)],
    )


INDEX_EXAMPLES = (never_again,)
