"""The dial ``target`` in ComfyUI: the same images as host-free, and a verdict that says what was reached."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.embedded.schedule import sigma_at_percent
from diversity_guidance.guidance.base import Chain
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.presets import repellency_preset
from diversity_guidance.guidance.prompt_easing import EasingSettings, PromptEasing
from diversity_guidance.guidance.repellency.guidance import SparseRepellency
from support.graphs import REPELLENCY, Drawing, latents_of
from support.host_client import HostClient, PromptRefused

PROMPT, STEPS, SEED, BATCH, TARGET = "woman running", 8, 5, 4, 3
TOLERANCE = 2e-4


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_the_same_as_host_free(client: HostClient, cfg: float) -> None:
    graph = Drawing()
    patched = graph.add("DiversitySparseRepellency", model=graph.demo[0], **{**REPELLENCY, "target": TARGET})
    saved = graph.latents(graph.sample(patched, prompt=PROMPT, batch=BATCH, seed=SEED, steps=STEPS, cfg=cfg))
    run = client.run(graph.prompt)
    chosen = repellency_preset("balanced", distilled=cfg == 1)
    guidance = SparseRepellency(replace(chosen.settings, target=TARGET, interval=SigmaInterval()))
    easing = PromptEasing(EasingSettings(sigma_at_percent(chosen.silent)), need=guidance.need)
    model = EmbeddedModel.load()
    chain = Chain([easing, guidance])
    expected = model.sample([PROMPT] * BATCH, SEED, steps=STEPS, cfg=cfg, guidance=chain)
    plain = model.sample([PROMPT] * BATCH, SEED, steps=STEPS, cfg=cfg)
    assert float((expected - plain).abs().max()) > 1000 * TOLERANCE, "the guidance did next to nothing"
    sampled = latents_of(client, run, saved)
    assert torch.allclose(sampled, expected, atol=TOLERANCE), float((sampled - expected).abs().max())
    [told] = run.outputs[patched.id]["verdict"]
    assert re.fullmatch(r"[1-4] of 4 images differs? \(target 3\)", told["text"])
    assert told["text"] == chain.trace.headline()
    assert "differed in the first estimate" in told["details"]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_target_that_is_reached_from_the_start_changes_nothing(client: HostClient, batch: int) -> None:
    graph = Drawing()
    plain = graph.latents(graph.sample(batch=batch))
    patched = graph.repel(target=1, cfg_easing=-1.0)
    saved = graph.latents(graph.sample(patched, batch=batch))
    run = client.run(graph.prompt)
    assert torch.equal(latents_of(client, run, saved), latents_of(client, run, plain))


def test_a_negative_target(client: HostClient) -> None:
    graph = Drawing()
    graph.latents(graph.sample(graph.repel(target=-1)))
    with pytest.raises(PromptRefused, match="target"):
        client.run(graph.prompt)
