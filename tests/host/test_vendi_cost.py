"""What a step of Vendi Guidance costs in a real ComfyUI, by feature space: a measurement, run with --campaign."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from support.examples import Sheet
from support.graphs import SAMPLER
from support.host_server import HostServer
from support.open_clip_files import BASE, write_open_clip

ANYWHERE = (0, 0, 0, 0)

FEW, MANY = 2, 6
BATCH = 8
REPEATS = 2
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


@pytest.mark.campaign
def test_cost_of_a_step_by_feature_space(server: HostServer) -> None:
    write_open_clip(server.base / "models" / "clip_vision" / "base", BASE)
    model, rest = cost(server, None)
    sys.stdout.write(f"\n{BATCH} pictures, the model alone: {model:.3f} processor seconds a step\n")
    for name, case in CASES.items():
        step, start = cost(server, case)
        sys.stdout.write(f"| {name} | {start - rest:.2f} | {step - model:.3f} | {(step - model) / model:.0%} |\n")
        assert step > model / 2
