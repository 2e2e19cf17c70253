"""Vendi Guidance on every sampler, on part of a schedule, after an interrupt, and in hosts of any age and none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diversity_guidance.embedded.latent_space import LATENT_FORMAT
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.embedded.schedule import sigma_at_percent
from diversity_guidance.guidance.limits import SigmaInterval
from diversity_guidance.guidance.presets import vendi_preset
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from support.graphs import latents_of
from support.host_client import HostClient
from support.host_listener import listen
from support.host_server import HostServer
from support.spreading import VENDI, Spreading, drawn, visibly_moved
from torch import Tensor

STEPS, SEED, BATCH, END = 8, 5, 3, 0.875
TOLERANCE = 2e-4
"""Largest difference of final latents, as for Sparse Repellency."""


def sampler_names(client: HostClient) -> list[str]:
    kind, *options = client.object_info()["KSampler"]["input"]["required"]["sampler_name"]
    return kind if isinstance(kind, list) else options[0]["options"]


def test_every_sampler(client: HostClient) -> None:
    graph = Spreading()
    steered = graph.vendi()
    names = sampler_names(client)
    saved = {name: graph.latents(graph.sample(steered, sampler_name=name, cfg=3.0)) for name in names}
    run = client.run(graph.prompt)
    assert len(saved) > 30
    assert [name for name, node in saved.items() if not latents_of(client, run, node).isfinite().all()] == []


def test_part_of_the_schedule(client: HostClient) -> None:
    graph = Spreading()
    first = graph.sample()
    halves = [
        graph.sample(model, latent=first[0], denoise=0.5, steps=4, seed=2)
        for model in (None, graph.vendi(strength=5.0))
    ]
    saved = [graph.latents(half) for half in halves]
    run = client.run(graph.prompt)
    before, after = (latents_of(client, run, node) for node in saved)
    assert visibly_moved(before, after)


def test_an_interrupt_leaves_the_steered_model_usable(client: HostClient) -> None:
    def drawing(steps: int) -> tuple[Spreading, Any]:
        graph = Spreading()
        samples = graph.sample(graph.vendi(), steps=steps)
        graph.latents(samples)
        return graph, samples

    graph, samples = drawing(400)
    assert listen(client, graph.prompt, interrupt_at=samples.id).run.status == "interrupted"
    again = [drawn(client, lambda graph: graph.vendi()) for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize(
    "settings",
    [{}, {"kernel": "cosine"}, {"order": 2.0, "cfg_easing": 1.0}, {"measure": "guided", "frequency": 2}],
    ids=["gaussian", "cosine", "order 2, CFG eased", "guided, every second step"],
)
def test_the_same_as_without_a_host(client: HostClient, cfg: float, settings: dict[str, Any]) -> None:
    graph = Spreading()
    sampler = {"prompt": "wave", "steps": STEPS, "cfg": cfg}
    past = graph.sample(batch=2, seed=SEED + 1, **sampler)
    bank = graph.add("DiversityRemember", samples=past, model=graph.demo[0], name="")[1]
    steered = graph.vendi(bank=bank, end_percent=END, **settings)
    saved = [graph.latents(past), graph.latents(graph.sample(steered, batch=BATCH, seed=SEED, **sampler))]
    run = client.run(graph.prompt)
    remembered, found = (latents_of(client, run, node) for node in saved)
    expected, plain = (
        EmbeddedModel.load().sample(["wave"] * BATCH, SEED, steps=STEPS, cfg=cfg, guidance=guidance)
        for guidance in (_same_guidance(remembered, settings), None)
    )
    assert float((expected - plain).abs().max()) > 1000 * TOLERANCE, "the guidance did next to nothing"
    assert torch.allclose(found, expected, atol=TOLERANCE), float((found - expected).abs().max())


def _same_guidance(remembered: Tensor, settings: dict[str, Any]) -> VendiGuidance:
    shown = {"alpha": 1.0, "beta": 1.0, "cfg_easing": 0.0, "bandwidth": 0.2, **settings}
    interval = SigmaInterval(low=sigma_at_percent(END))
    presets = (vendi_preset(VENDI["preset"], is_distilled).changed(**shown) for is_distilled in (False, True))
    kinds = [replace(preset.scaled(VENDI["strength"]).settings, interval=interval) for preset in presets]
    bank = BankSnapshot.empty().extended(remembered, latent_format=LATENT_FORMAT)
    return VendiGuidance(kinds[0], bank, distilled=kinds[1])


def test_other_hosts_draw_the_same(server: HostServer, other_server: HostServer) -> None:
    here, there = (drawn(host.client, lambda graph: graph.vendi()) for host in (server, other_server))
    assert torch.allclose(here, there, atol=1e-4)
