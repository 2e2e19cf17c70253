"""The distilled model in ComfyUI: the same images as host-free, from our node and from the stock LoRA loader."""

from __future__ import annotations

import shutil

import pytest
import torch
from diversity_guidance.embedded.assets_path import asset
from diversity_guidance.embedded.lora import TURBO_LORA
from diversity_guidance.embedded.model import TURBO, EmbeddedModel
from support.graphs import Drawing, latents_of
from support.host_server import HostServer
from torch import Tensor

PROMPT, SEED, BATCH = "woman running", 5, 3
TOLERANCE = 2e-4
SETTINGS = {"prompt": PROMPT, "batch": BATCH, "seed": SEED, "steps": TURBO.steps, "cfg": TURBO.cfg}


@pytest.fixture(scope="module")
def expected() -> Tensor:
    return EmbeddedModel.load(turbo=True).sample([PROMPT] * BATCH, SEED)


def test_the_node_s_model_denoises_as_host_free(server: HostServer, expected: Tensor) -> None:
    graph = Drawing(model="turbo")
    saved = graph.latents(graph.sample(**SETTINGS))
    drawn = latents_of(server.client, server.client.run(graph.prompt), saved)
    base = EmbeddedModel.load().sample([PROMPT] * BATCH, SEED, steps=TURBO.steps, cfg=TURBO.cfg)
    assert torch.allclose(drawn, expected, atol=TOLERANCE), float((drawn - expected).abs().max())
    assert float((base - expected).abs().max()) > 1000 * TOLERANCE, "the LoRA did next to nothing"


def test_the_stock_lora_loader_does_the_same(other_server: HostServer, expected: Tensor) -> None:
    folder = other_server.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(asset(TURBO_LORA), folder)
    graph = Drawing()
    model = graph.add("LoraLoaderModelOnly", model=graph.demo, lora_name=TURBO_LORA, strength_model=1.0)
    saved = graph.latents(graph.sample(model, **SETTINGS))
    run = other_server.client.run(graph.prompt)
    assert torch.allclose(latents_of(other_server.client, run, saved), expected, atol=TOLERANCE)
    assert "lora key not loaded" not in other_server.log
