"""Workflows for the models that people run, and ``python -m support.model_examples`` to write their files.

Run it from the tests folder. It asks the first host for its nodes and samples nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .graphs import Node
from .host_checkouts import PACK
from .host_server import first_host
from .layout import TITLE
from .model_families import (
    FAMILIES,
    FLUX_2_FAMILIES,
    WAN_CFG,
    WAN_ENCODER,
    WAN_HIGH,
    WAN_LOW,
    WAN_SHIFT,
    WAN_STEPS,
    WAN_VAE,
    Family,
)
from .plan import READ, Fold, Plan
from .workflows import Workflow

FOLDER = PACK / "example_workflows"
PREFIX = "Your model - "
"""Titles begin with it: these need a download, and those of the embedded model do not."""

VERSION = "0.33.0"
PROMPT = "portrait photo of a baker in front of the bakery, morning light"
VIDEO_PROMPT = "a street musician plays in the rain, the camera moves slowly closer"

MODELS, WORDS, APART, SAMPLE, RESULT = (
    "1. Models",
    "2. Prompt and size",
    "3. Keep images apart",
    "4. Sample and remember",
    "5. Result",
)
COLOURS = {MODELS: "#3f789e", WORDS: "#3f789e", APART: "#8a4f9e", SAMPLE: "#88724a", RESULT: "#4a8858"}


BANDS = ((READ,), (MODELS,), (WORDS,), (APART,), (SAMPLE,), (RESULT,))


def loaded(plan: Plan, family: Family) -> tuple[Any, Any, Any]:
    """Model, text encoder and VAE."""
    if not family.encoders:
        node = plan.put(MODELS, "CheckpointLoaderSimple", [family.model], ckpt_name=family.model.name)
        return node[0], node[1], node[2]
    model = plan.put(MODELS, "UNETLoader", [family.model], unet_name=family.model.name, weight_dtype="default")
    names = [file.name for file in family.encoders]
    common = {"type": family.encoder_type, "device": "default"}
    if len(names) == 2:
        clip = plan.put(MODELS, "DualCLIPLoader", family.encoders, clip_name1=names[0], clip_name2=names[1], **common)
    else:
        clip = plan.put(MODELS, "CLIPLoader", family.encoders, clip_name=names[0], **common)
    assert family.vae is not None
    decoder = plan.put(MODELS, "VAELoader", [family.vae], vae_name=family.vae.name)
    if family.lora is not None:
        model = plan.put(
            MODELS, "LoraLoaderModelOnly", [family.lora], model=model, lora_name=family.lora.name, strength_model=1.0
        )
    if family.shift is not None:
        model = plan.put(MODELS, "ModelSamplingAuraFlow", model=model, shift=family.shift)
    return model[0], clip[0], decoder[0]


def prompts(plan: Plan, family: Family, clip: Any) -> tuple[Node, Node]:
    """The prompt and a negative one, which is connected at CFG 1 too."""
    positive = plan.put(WORDS, "CLIPTextEncode", called="Prompt", clip=clip, text=PROMPT)
    negative = plan.put(WORDS, "CLIPTextEncode", called="Negative prompt (keep it connected)", clip=clip, text="")
    if family.guidance is not None:
        positive = plan.put(WORDS, "FluxGuidance", conditioning=positive, guidance=family.guidance)
    return positive, negative


def kept_apart(plan: Plan, model: Any, bank: str, preset: str = "balanced") -> Node:
    """The model that keeps away from a Memory Bank."""
    past = plan.put(APART, "DiversityMemoryBank", name=bank)
    return plan.put(APART, "DiversitySparseRepellency", model=model, bank=past, preset=preset)


def finished(plan: Plan, samples: Any, model: Any, decoder: Any, bank: str) -> None:
    """Remember, decode and save."""
    remembered = plan.put(SAMPLE, "DiversityRemember", samples=samples, model=model, name=bank)
    images = plan.put(RESULT, "VAEDecode", samples=remembered, vae=decoder)
    plan.put(RESULT, "SaveImage", images=images, filename_prefix=bank)


def image_workflow(family: Family, object_info: Mapping[str, Any]) -> Workflow:
    """A family that KSampler samples."""
    plan = Plan(object_info, VERSION)
    bank = family.title
    model, clip, decoder = loaded(plan, family)
    positive, negative = prompts(plan, family, clip)
    latent = plan.put(WORDS, family.latent, width=family.side, height=family.side, batch_size=family.batch)
    apart = kept_apart(plan, model, bank)
    samples = plan.put(
        SAMPLE,
        "KSampler",
        model=apart,
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=1,
        **family.sampler,
    )
    finished(plan, samples, model, decoder, bank)
    models = [Node(str(identity)) for identity in plan.stacks[MODELS, 0]]
    is_full = len(plan.graph.prompt) + 1 > MOST_NODES
    folds = [Fold(f"Load {family.title}", models, _loader_widgets(plan, models))] if is_full else []
    return plan.arranged(note(family), folds, COLOURS, BANDS)


MOST_NODES = 14
LOADERS = {"UNETLoader": "unet_name", "CLIPLoader": "clip_name", "VAELoader": "vae_name"} | {
    "LoraLoaderModelOnly": "lora_name"
}


def _loader_widgets(plan: Plan, nodes: Sequence[Node]) -> list[tuple[Node, str]]:
    kinds = {node: plan.graph.prompt[node.id]["class_type"] for node in nodes}
    return [(node, LOADERS[kind]) for node, kind in kinds.items() if kind in LOADERS]


def flux_2_workflow(family: Family, object_info: Mapping[str, Any]) -> Workflow:
    """A family that is sampled with the schedule of Flux.2; the sampler's nodes are folded into one."""
    plan = Plan(object_info, VERSION)
    bank, side = family.title, family.side
    model, clip, decoder = loaded(plan, family)
    positive, negative = prompts(plan, family, clip)
    apart = kept_apart(plan, model, bank)
    latent = plan.put(SAMPLE, "EmptyFlux2LatentImage", width=side, height=side, batch_size=family.batch)
    noise = plan.put(SAMPLE, "RandomNoise", noise_seed=1)
    sampler = plan.put(SAMPLE, "KSamplerSelect", sampler_name=family.sampler["sampler_name"])
    sigmas = plan.put(SAMPLE, "Flux2Scheduler", steps=family.sampler["steps"], width=side, height=side)
    guider = plan.put(SAMPLE, "CFGGuider", model=apart, positive=positive, negative=negative, cfg=family.sampler["cfg"])
    samples = plan.put(
        SAMPLE,
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=latent,
    )
    finished(plan, samples, model, decoder, bank)
    sample = Fold(
        "Sample with Flux.2",
        (latent, noise, sampler, sigmas, guider, samples),
        [(latent, "batch_size"), (noise, "noise_seed"), (sigmas, "steps"), (guider, "cfg"), (sampler, "sampler_name")],
        shared={name: [(latent, name), (sigmas, name)] for name in ("width", "height")},
    )
    return plan.arranged(note(family), [sample], COLOURS, BANDS)


def wan_workflow(object_info: Mapping[str, Any]) -> Workflow:
    """Wan 2.2: the expert of high noise is steered, that of low noise finishes what it left."""
    plan = Plan(object_info, VERSION)
    bank = "Wan 2.2"
    experts = [
        plan.put(MODELS, "UNETLoader", [file], unet_name=file.name, weight_dtype="default")
        for file in (WAN_HIGH, WAN_LOW)
    ]
    clip = plan.put(MODELS, "CLIPLoader", [WAN_ENCODER], clip_name=WAN_ENCODER.name, type="wan", device="default")
    decoder = plan.put(MODELS, "VAELoader", [WAN_VAE], vae_name=WAN_VAE.name)
    high, low = (plan.put(MODELS, "ModelSamplingSD3", model=expert, shift=WAN_SHIFT) for expert in experts)
    positive = plan.put(WORDS, "CLIPTextEncode", called="Prompt", clip=clip, text=VIDEO_PROMPT)
    negative = plan.put(WORDS, "CLIPTextEncode", called="Negative prompt", clip=clip, text="")
    latent = plan.put(WORDS, "EmptyHunyuanLatentVideo", width=640, height=640, length=81, batch_size=1)
    apart = kept_apart(plan, high, bank, "strong")
    half = WAN_STEPS // 2
    common = {"steps": WAN_STEPS, "cfg": WAN_CFG, "sampler_name": "euler", "scheduler": "simple"}
    common |= {"positive": positive, "negative": negative}
    first = plan.put(
        SAMPLE,
        "KSamplerAdvanced",
        called="High noise: decides what is seen",
        model=apart,
        add_noise="enable",
        noise_seed=1,
        latent_image=latent,
        start_at_step=0,
        end_at_step=half,
        return_with_leftover_noise="enable",
        **common,
    )
    second = plan.put(
        SAMPLE,
        "KSamplerAdvanced",
        called="Low noise: details",
        model=low,
        add_noise="disable",
        noise_seed=0,
        latent_image=first,
        start_at_step=half,
        end_at_step=10000,
        return_with_leftover_noise="disable",
        **common,
    )
    remembered = plan.put(RESULT, "DiversityRemember", samples=second, model=low, name=bank)
    images = plan.put(RESULT, "VAEDecode", samples=remembered, vae=decoder)
    plan.put(RESULT, "SaveAnimatedWEBP", images=images, filename_prefix=bank, fps=16.0, method="default")
    inside = (*experts, high, low, clip, decoder)
    names = {(high, "MODEL"): "high noise", (low, "MODEL"): "low noise"}
    load = Fold("Load Wan 2.2", inside, _loader_widgets(plan, inside), names)
    return plan.arranged(WAN_NOTE, [load], COLOURS, BANDS)


HEAD = (
    "## {title}\n\n"
    "Press **Run** several times. **Keep Images Apart** keeps the images of a batch away from one another and from all "
    "that **Save to Memory Bank** has saved before, even with the same seed.\n\n"
    "Missing models are offered for download when the workflow opens; their links are those of ComfyUI's own "
    "templates.{other}\n\n"
)
DERIVED = (
    "### Starting point: derived, not measured\n\n"
    "We have not run this model. Steps, CFG, sampler and sizes are those of ComfyUI's own template. The preset is "
    "**{preset}**{because}. Presets name distances in parts of what unrelated images have, which is measured in every "
    "run, so that they carry over in size; whether they do in effect, nobody has measured.\n\n"
)
DISTILLED = (
    "**Keep the negative prompt connected.** At CFG 1 the sampler does not use it. **Keep Images Apart** follows it in "
    "the first steps, where the image is decided, and the prompt comes in after them. Encode an empty text; a prompt "
    "that is zeroed out is none that the model knows.\n\n"
)
TUNE = (
    "**Still alike?** Take the preset **strong**. **Too far from the prompt, or odd colours?** Take **subtle**.\n\n"
    "**Please report what you see**, good or bad: model, preset, steps, and images without and with it. "
    "Use the form **How it works on my model** among the issues of this pack's repository."
)
WAN_NOTE = (
    HEAD.format(title="Wan 2.2: another video every time", other="").replace("images of a batch", "videos of a batch")
    + "**Only the expert of high noise is steered**: it decides what is seen and where. The expert of low noise "
    "adds details, where pushing costs quality.\n\n"
    + DERIVED.format(
        preset="strong", because=", as videos are sampled one at a time and meet the others only in the bank"
    )
    + "**With a Lightning LoRA**: put one after each model, 4 steps, CFG 1, switch at step 2.\n\n"
    + TUNE.replace("images without", "videos without").replace("**Still alike?** Take the preset **strong**. ", "")
)


def note(family: Family) -> str:
    """What stands beside a family's graph."""
    other = f"\n\n{family.other}" if family.other else ""
    because = (
        ", with its values for models without CFG, which come from the embedded turbo model"
        if family.distilled
        else ", with its values for models with CFG, which come from the embedded base model"
    )
    head = HEAD.format(title=f"{family.title}: no two images alike", other=other)
    return head + DERIVED.format(preset="balanced", because=because) + (DISTILLED if family.distilled else "") + TUNE


def model_workflows(object_info: Mapping[str, Any]) -> dict[str, Workflow]:
    """Every workflow of this file, by the name of its file."""
    made = {family.title: image_workflow(family, object_info) for family in FAMILIES}
    made |= {family.title: flux_2_workflow(family, object_info) for family in FLUX_2_FAMILIES}
    made["Wan 2.2"] = wan_workflow(object_info)
    return {PREFIX + title: workflow for title, workflow in made.items()}


def card(title: str, workflow: Workflow, side: int = 512) -> Image.Image:
    """A thumbnail for a workflow that nobody has run here: its name above its boxes."""
    image = Image.new("RGB", (side, side), "#202225")
    draw = ImageDraw.Draw(image)
    words = title.removeprefix(PREFIX)
    size = next(size for size in range(64, 10, -2) if ImageFont.load_default(size).getlength(words) <= side - 48)
    draw.text((24, 84), words, fill="white", font=ImageFont.load_default(size))
    right = max(node["pos"][0] + node["size"][0] for node in workflow["nodes"])
    bottom = max(node["pos"][1] + node["size"][1] for node in workflow["nodes"])
    scale = (side - 48) / max(right, bottom)

    def rectangle(x: float, y: float, width: float, height: float, colour: str) -> None:
        corners = [24 + x * scale, 220 + y * scale, 24 + (x + width) * scale, 220 + (y + height) * scale]
        draw.rounded_rectangle(corners, 4, fill=colour)

    for group in workflow["groups"]:
        rectangle(*group["bounding"], group["color"])
    for node in workflow["nodes"]:
        ours = node["type"].startswith("Diversity")
        rectangle(node["pos"][0], node["pos"][1] - TITLE, *node["size"], "#e0b050" if ours else "#353a40")
    return image


def write(object_info: Mapping[str, Any]) -> None:
    """Write all files."""
    for title, workflow in model_workflows(object_info).items():
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{title}.json").write_text(text, encoding="utf-8")
        card(title, workflow).save(FOLDER / f"{title}.jpg", quality=88)


def main() -> None:
    """Write the files for the nodes of the first host."""
    with first_host() as server:
        write(server.client.object_info())


if __name__ == "__main__":
    main()
