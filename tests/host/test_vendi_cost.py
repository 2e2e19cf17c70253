"""What a step of Vendi Guidance costs in a real ComfyUI, by feature space: a measurement, run with --campaign."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from support.graphs import SAMPLER
from support.host_server import HostServer
from support.open_clip_files import BASE, write_open_clip
from support.sheet import Sheet

ANYWHERE = (0, 0, 0, 0)

FEW, MANY = 1, 4
BATCH = 8
REPEATS = 1
OPEN_CLIP = "open clip: base"

CASES: dict[str, dict[str, Any]] = {
    "latents": {"features": "latents"},
    "preview": {"features": "preview"},
    "colour layout, vae": {"features": "colour layout", "vae": True},
    "random network, vae": {"features": "random network", "vae": True},
    "clip vision (ViT-B/32), preview": {"features": "clip vision", "clip_vision": True},
    "clip vision (ViT-B/32), vae": {"features": "clip vision", "clip_vision": True, "vae": True},
    "open clip (ViT-B/32), preview": {"features": OPEN_CLIP},
}


def seconds(server: HostServer, case: dict[str, Any] | None, steps: int) -> float:
    """Processor seconds of a sampling run, the fewest of some; each has its own seed, so that none is cached."""
    spent = []
    for repeat in range(1 + REPEATS):
        sheet = Sheet(server.client.object_info())
        demo = sheet.put(ANYWHERE, "DiversityDemoModel")
        model = demo
        if case is not None:
            wired: dict[str, Any] = {"features": case["features"], "end_percent": 1.0}
            if "vae" in case:
                wired["vae"] = demo[2]
            if "clip_vision" in case:
                wired["clip_vision"] = sheet.put(ANYWHERE, "TestTinyClipVision", size="base")
            model = sheet.put(ANYWHERE, "DiversityVendiGuidance", model=demo, **wired)
        empty = sheet.put(ANYWHERE, "EmptySD3LatentImage", width=64, height=64, batch_size=BATCH)
        positive, negative = (sheet.put(ANYWHERE, "CLIPTextEncode", clip=demo[1], text=text) for text in ("wave", ""))
        conditions = {"positive": positive, "negative": negative, "latent_image": empty}
        settings = {**SAMPLER, "seed": 1000 + repeat, "steps": steps}
        drawn = sheet.put(ANYWHERE, "KSampler", model=model, **conditions, **settings)
        sheet.put(ANYWHERE, "SaveLatent", samples=drawn, filename_prefix="cost")
        start = server.processor_seconds
        server.client.run(sheet.graph.prompt)
        spent.append(server.processor_seconds - start)
    # The first run loads.
    return min(spent[1:])


def cost(server: HostServer, case: dict[str, Any] | None) -> tuple[float, float]:
    """Processor seconds of a step, and of everything else."""
    few, many = (seconds(server, case, steps) for steps in (FEW, MANY))
    step = (many - few) / (MANY - FEW)
    return step, few - FEW * step


@pytest.fixture(scope="module")
def alone(server: HostServer) -> tuple[float, float]:
    """The model's own cost."""
    return cost(server, None)


@pytest.mark.campaign
@pytest.mark.parametrize("name", CASES)
def test_cost_of_a_step(server: HostServer, alone: tuple[float, float], name: str) -> None:
    if CASES[name]["features"] == OPEN_CLIP:
        write_open_clip(server.base / "models" / "clip_vision" / "base", BASE)
    (step, rest), (model, model_rest) = cost(server, CASES[name]), alone
    sys.stdout.write(
        f"\n{name}: {rest - model_rest:.2f} s at the start, {step - model:.3f} s a step of {BATCH} images, "
        f"{(step - model) / model:.0%} of the model's {model:.3f} s\n"
    )
    assert step > model / 2
