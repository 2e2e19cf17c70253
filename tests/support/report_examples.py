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


def stopped(object_info: Mapping[str, Any]) -> Example:
    """A prompt that reaches few of the references, sampled over several queues until that is certain."""
    queues, name = 3, "is it in vain"
    sheet = Sheet(object_info)
    demo = sheet.put((20, 60, 300, 90), "DiversityDemoModel")
    bank = sheet.put((20, 260, 300, 130), "DiversityMemoryBank", name=name)
    prompts = sheet.prompts(demo, "woman running")
    latent = sheet.put((380, 380, 300, 130), "EmptySD3LatentImage", **EIGHT)
    wide = sheet.put((20, 900, 300, 110), "CLIPTextEncode", clip=demo[1], text="person")
    many = sheet.put((20, 1070, 300, 130), "EmptySD3LatentImage", **{**EIGHT, "batch_size": 16})
    real = sheet.put(
        (380, 900, 300, 340),
        "KSamplerAdvanced",
        model=demo,
        positive=wide,
        negative=prompts["negative"],
        latent_image=many,
        add_noise="enable",
        return_with_leftover_noise="disable",
        noise_seed=7,
        steps=24,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        start_at_step=0,
        end_at_step=10_000,
    )
    references = sheet.put((740, 900, 210, 50), "VAEDecode", samples=real, vae=demo[2])
    shown = sheet.put((1100, 900, 560, 400), "SaveImage", images=references, filename_prefix="references")
    guard = sheet.put(
        (740, 400, 330, 330), "DiversityStopEarly", bank=bank, model=demo, reference=references, planned=32
    )
    sampled = sheet.put(
        (1100, 60, 300, 270), "KSampler", model=guard, **{**prompts, **SAMPLER, "latent_image": latent, "seed": 1}
    )
    images = sheet.put((1460, 60, 210, 50), "VAEDecode", samples=sampled, vae=demo[2])
    sheet.put((1460, 200, 300, 180), "DiversityRemember", samples=sampled, model=demo, name=name, images=images)
    saved = sheet.put((1820, 60, 560, 400), "SaveImage", images=images, filename_prefix="in vain")
    sheet.places["note"] = (20, 480, 320, 380)

    def draw(client: HostClient) -> list[Picture]:
        sampler = sheet.graph.prompt[sampled.id]["inputs"]
        runs = [
            client.run({**sheet.graph.prompt, sampled.id: {**sheet.graph.prompt[sampled.id], "inputs": inputs}})
            for inputs in ({**sampler, "seed": 1 + number} for number in range(queues))
        ]
        batches = [run for run in runs if saved.id in run.outputs]
        found = [picture for run in batches for picture in pictures_of(client, run, saved)[:4]]
        return [*pictures_of(client, runs[0], shown)[: 16 - len(found)], *found]

    note = (
        "## Stop once it is in vain\n\n"
        "Below are sixteen images to reach; with your own model, connect **Load Real Examples** instead. Queue this "
        "again and again: every queue saves eight images to the bank, and **Stop Early** compares all of them with the "
        "sixteen.\n\n"
        "*Go on* means that 80 % of the sixteen may still be reached by the **planned** 32 images. *Stop* means that "
        "this is ruled out with a certainty of 95 %: the sampler is then skipped, and so is every node after it.\n\n"
        "Another **name** in both bank nodes begins anew."
    )
    title = "Stop once the references cannot be reached"
    return Example(title, sheet.graph, sheet.places, note, draw, {"KSampler": "seed"})


REPORT_EXAMPLES = (compared, stopped)
