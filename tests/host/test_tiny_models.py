"""The workflows of models that people run, from the first node to the bank, on tiny models of the same architectures.

Nothing tiny stands in for Krea 2. Text encoders and VAEs are left out: their sizes are fixed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.graphs import Node, latents_of
from support.host_client import HostClient, Prompt
from support.host_server import PACK
from support.model_examples import PREFIX
from support.workflows import to_api

KINDS = {
    "SDXL and Illustrious": ("TestTinyModel", "unet"),
    "Flux.1 dev": ("TestArchitecture", "flux"),
    "Flux.1 Krea dev": ("TestArchitecture", "flux"),
    "Flux.2 dev": ("TestArchitecture", "flux2"),
    "Flux.2 klein": ("TestArchitecture", "flux2"),
    "Qwen-Image 2512": ("TestArchitecture", "qwen_image"),
    "Qwen-Image 2512 Lightning": ("TestArchitecture", "qwen_image"),
    "Z-Image Turbo": ("TestArchitecture", "lumina2"),
    "Z-Image Base": ("TestArchitecture", "lumina2"),
    "Wan 2.2": ("TestTinyModel", "wan"),
}
SMALL = {"width": 64, "height": 64, "batch_size": 2, "length": 5, "steps": 4}
HALVES = {"end_at_step": 2, "start_at_step": 2}
MODEL_LOADERS = ("CheckpointLoaderSimple", "UNETLoader")
LEFT_OUT = ("CLIPLoader", "DualCLIPLoader", "VAELoader", "VAEDecode", "SaveImage", "SaveAnimatedWEBP")


def tiny(prompt: Prompt, loader: str, kind: str) -> tuple[Prompt, str]:
    """The same graph with tiny models and sizes, and the id of the node that saves its latents."""
    moved: dict[tuple[str, int], list[Any]] = {}
    made: Prompt = {}
    words = 0
    loaders = [identity for identity, node in prompt.items() if node["class_type"] in MODEL_LOADERS]
    for identity, node in prompt.items():
        inputs = dict(node["inputs"])
        match node["class_type"]:
            case name if name in MODEL_LOADERS:
                seed = {"seed": 0} if loader == "TestArchitecture" else {}
                made[identity] = {"class_type": loader, "inputs": {"kind": kind, **seed}}
            case "CLIPTextEncode":
                words += 1
                moved[identity, 0] = [loaders[0], words]
            case "LoraLoaderModelOnly":
                moved[identity, 0] = inputs["model"]
            case name if name not in LEFT_OUT:
                inputs |= {name: SMALL[name] for name in inputs if name in SMALL}
                if name == "KSamplerAdvanced":
                    half = "end_at_step" if inputs["start_at_step"] == 0 else "start_at_step"
                    inputs[half] = HALVES[half]
                made[identity] = {"class_type": name, "inputs": inputs}
    for node in made.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = moved.get((value[0], value[1]), value)
    (saved,) = [identity for identity, node in made.items() if node["class_type"] == "DiversityRemember"]
    made["latents"] = {"class_type": "SaveLatent", "inputs": {"samples": [saved, 0], "filename_prefix": "tiny"}}
    return made, "latents"


@pytest.mark.parametrize("title", KINDS)
def test_a_workflow_runs_from_the_model_to_the_bank(client: HostClient, title: str) -> None:
    """Twice with one seed: the second run keeps away from what the first has saved."""
    workflow = json.loads((PACK / "example_workflows" / f"{PREFIX}{title}.json").read_text(encoding="utf-8"))
    prompt, saver = tiny(to_api(workflow, client.object_info()), *KINDS[title])
    (steered,) = [identity for identity, node in prompt.items() if node["class_type"] == "DiversitySparseRepellency"]
    runs = [client.run(prompt) for _ in range(2)]
    first, second = (latents_of(client, run, Node(saver)) for run in runs)
    assert first.isfinite().all() and second.isfinite().all()
    assert first.shape == second.shape
    assert not first.equal(second)
    before, after = (run.outputs[steered]["verdict"][0] for run in runs)
    assert "Moved" not in before["text"]
    assert "Moved 2 of 2 images" in after["text"]
    if any(node["inputs"].get("cfg") == 1.0 for node in prompt.values()):
        assert "Prompt eased" in before["text"] and "no cost" in before["details"]
