"""The example workflow of the Diversity Report: the same batch without and with guidance, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graphs import pictures_of
from .host_client import HostClient
from .plan import Fold
from .sheet import BLUE, GREEN, GREY, MODEL, PURPLE, SAMPLER, Example, Picture, Sheet, enlarged, sampled


def compared(object_info: Mapping[str, Any]) -> Example:
    """One report on both batches, and what is left of the first without near-duplicates."""
    plain, kept_apart, helped, sorted_out = (
        "2. As it is",
        "3. Kept apart",
        "4. Did it help?",
        "5. Without near-duplicates",
    )
    sheet = Sheet(object_info)
    common = {**sheet.prompts("police officer"), **SAMPLER, "latent_image": sheet.empty(8), "seed": 2}
    alike = sheet.put(plain, "KSampler", model=sheet.demo, **common)
    unguided = sheet.enlarge(plain, alike)
    repelled = sheet.put(kept_apart, "DiversitySparseRepellency", model=sheet.demo)
    different = sheet.put(kept_apart, "KSampler", stack=1, model=repelled, **common)
    guided = sheet.enlarge(kept_apart, different, 1)
    report = sheet.put(
        helped,
        "DiversityReport",
        size=REPORT,
        images=guided.enlarged,
        before=unguided.enlarged,
        trace=repelled[1],
        samples=different,
        filename_prefix="diversity/unguided and guided",
    )
    filtered = sheet.put(sorted_out, "DiversityReport", size=REPORT, images=unguided.enlarged, filename_prefix="")
    for slot, name in ((1, "kept"), (2, "rejected")):
        sheet.save(sorted_out, filtered[slot], f"diversity/{name}", stack=1, called=f"Save what is {name}")

    def draw(client: HostClient) -> list[Picture]:
        (page,) = pictures_of(client, client.run(sheet.graph.prompt), report)
        return [page[: page.shape[1]]]

    note = (
        "## Did it do anything?\n\n"
        "**Measure Variety** in frame 4 compares eight images with Keep Images Apart to the same eight without it. "
        "Its first line is the answer. Connect **Save Image** to its output **report** for the whole page: the "
        "numbers, the images that they come from, and what each image was pushed away from.\n\n"
        "In frame 5 another one sorts the images without guidance: **kept** is the batch without near-duplicates, "
        "**rejected** the rest. If nothing is rejected, the nodes after **rejected** are skipped.\n\n"
        "The numbers are also saved as a JSON and a CSV file in the output folder. Eight images are few: the "
        "intervals beside the numbers say how far to trust them."
    )
    return Example(
        "Diversity report of an unguided and a guided batch",
        sheet,
        {MODEL: BLUE, plain: GREY, kept_apart: PURPLE, helped: GREEN, sorted_out: GREEN},
        note,
        draw,
        [enlarged(unguided), enlarged(guided)],
        {kept_apart: plain},
    )


def stopped(object_info: Mapping[str, Any]) -> Example:
    """A prompt that reaches few of the references, sampled over several queues until that is certain."""
    queues, name = 3, "is it in vain"
    reach, stop, sample = "2. Images to reach", "3. Stop early", "4. Sample and save to the bank"
    sheet = Sheet(object_info)
    prompts, latent = sheet.prompts("woman running"), sheet.empty(8)
    wide = sheet.say("running", "Wide prompt", reach)
    many = sheet.empty(16, reach)
    settings = {"steps": 24, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "noise_seed": 7}
    settings |= {"add_noise": "enable", "return_with_leftover_noise": "disable"}
    settings |= {"start_at_step": 0, "end_at_step": 10_000, "positive": wide, "negative": prompts["negative"]}
    real = sheet.put(reach, "KSamplerAdvanced", model=sheet.demo, latent_image=many, **settings)
    references = sheet.enlarge(reach, real)
    shown = sheet.save(reach, references.enlarged, "references", SIXTEEN)
    bank = sheet.put(stop, "DiversityMemoryBank", name=name)
    guard = sheet.put(stop, "DiversityStopEarly", bank=bank, model=sheet.demo, reference=references.decoded, planned=32)
    common = {**prompts, **SAMPLER, "latent_image": latent, "seed": 1}
    sampler = sheet.put(sample, "KSampler", model=guard, **common)
    made = sheet.enlarge(sample, sampler)
    remembered = {"samples": sampler, "model": sheet.demo, "name": name, "images": made.decoded}
    sheet.put(sample, "DiversityRemember", stack=1, **remembered)
    saved = sheet.save(sample, made.enlarged, "in vain", stack=1)

    def draw(client: HostClient) -> list[Picture]:
        given = sheet.graph.prompt[sampler.id]["inputs"]
        runs = [
            client.run({**sheet.graph.prompt, sampler.id: {**sheet.graph.prompt[sampler.id], "inputs": inputs}})
            for inputs in ({**given, "seed": 1 + number} for number in range(queues))
        ]
        batches = [run for run in runs if saved.id in run.outputs]
        found = [picture for run in batches for picture in pictures_of(client, run, saved)[:4]]
        return [*pictures_of(client, runs[0], shown)[: 16 - len(found)], *found]

    note = (
        "## Stop once it is in vain\n\n"
        "Frame 2 makes sixteen runners to reach; with your own model, connect **Load Real Examples** instead. The "
        "prompt in frame 1 nearly always gives the same woman. Queue this again and again: every queue saves eight "
        "images to the bank, and **Stop Early** compares all of them with the sixteen.\n\n"
        "*Go on* means that 80 % of the sixteen may still be reached by the **planned** 32 images. *Stop* means that "
        "this is ruled out with a certainty of 95 %: the sampler is then skipped, and so is every node after it.\n\n"
        "Another **name** in both bank nodes begins anew."
    )
    folded = sampled("Generate sixteen images", real, references, wide, many)
    return Example(
        "Stop once the references cannot be reached",
        sheet,
        {MODEL: BLUE, reach: GREY, stop: PURPLE, sample: GREEN},
        note,
        draw,
        [Fold(folded.title, folded.nodes, [(wide, "text"), (many, "batch_size")], folded.names), enlarged(made)],
        counted={"KSampler": "seed"},
    )


REPORT = (420, 860)
SIXTEEN = (420, 500)
REPORT_EXAMPLES = (compared,)
