"""The example workflow of the Diversity Report: the same batch without and with guidance, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .examples import SAMPLER, Example, Picture, Sheet
from .graphs import pictures_of
from .host_client import HostClient

EIGHT = {"width": 64, "height": 64, "batch_size": 8}


def compared(object_info: Mapping[str, Any]) -> Example:
    """One report on both batches, and what is left of the first without near-duplicates."""
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")
    prompts = sheet.prompts(demo)
    latent = sheet.put((380, 380, 300, 130), "EmptySD3LatentImage", **EIGHT)
    common = {**prompts, **SAMPLER, "latent_image": latent, "seed": 1}
    alike = sheet.put((740, 60, 300, 270), "KSampler", model=demo, **common)
    repelled = sheet.repelled((380, 800, 300, 330), 0.3, model=demo)
    different = sheet.put((740, 580, 300, 270), "KSampler", model=repelled, **common)
    unguided, guided = (
        sheet.put((1100, y, 210, 50), "VAEDecode", samples=samples, vae=demo[2])
        for y, samples in ((60, alike), (580, different))
    )
    both = sheet.put(
        (1360, 1000, 400, 940),
        "DiversityReport",
        images=guided,
        before=unguided,
        trace=repelled[1],
        samples=different,
        filename_prefix="diversity/unguided and guided",
    )
    report = sheet.put((1810, 580, 700, 1360), "SaveImage", images=both, filename_prefix="diversity/report")
    filtered = sheet.put((1360, 60, 400, 860), "DiversityReport", images=unguided, filename_prefix="")
    for x, slot, name in ((1810, 1, "kept"), (2180, 2, "rejected")):
        sheet.put((x, 60, 330, 440), "SaveImage", images=filtered[slot], filename_prefix=f"diversity/{name}")
    sheet.places["note"] = (20, 580, 320, 400)

    def draw(client: HostClient) -> list[Picture]:
        (page,) = pictures_of(client, client.run(sheet.graph.prompt), report)
        return [page[: page.shape[1]]]

    note = (
        "## Did it do anything?\n\n"
        "Below, one **Measure Variety** compares eight images with Sparse Repellency to the same eight without it. "
        "The first line of the report is the answer. Below it are the numbers, the images that they come from, and "
        "what each image was pushed away from while it was sampled.\n\n"
        "Above, another report sorts the unguided images: **kept** is the batch without near-duplicates, "
        "**rejected** the rest. If nothing is rejected, the nodes after **rejected** are skipped.\n\n"
        "The numbers are also saved as a JSON and a CSV file in the output folder. Eight images are few: the "
        "intervals beside the numbers say how far to trust them."
    )
    return Example("Diversity report of an unguided and a guided batch", sheet.graph, sheet.places, note, draw)


REPORT_EXAMPLES = (compared,)
