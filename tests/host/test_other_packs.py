"""Samplers that call the host as LanPaint, TiledKSampler and restart sampling do: guided, and told the truth about."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.embedded.transformer import to_model_space
from diversity_guidance.stores.protected.index import ProtectedIndex
from support.graphs import Drawing, Node, latents_of
from support.host_client import HostClient, RunFailed
from support.host_listener import listen
from support.host_server import HostServer
from support.spreading import spread_out
from torch import Tensor

ITERATIONS, TILES, RESTARTS = "TestInnerIterations", "TestTiles", "TestRestarts"
SAMPLERS = [ITERATIONS, TILES, RESTARTS]
RADIUS = 60.0
"""Farther than two images of the embedded model are apart after these steps."""

SIDE = 4
"""Of a tile, in latents."""


class Sampling(Drawing):
    """Two images by a sampler of another pack; one that iterates holds their right half."""

    def by(self, sampler: str, model: Any) -> Node:
        return self.add(
            sampler,
            model=model,
            positive=self.encode("woman running"),
            negative=self.encode(""),
            latent_image=self.masked() if sampler == ITERATIONS else self.empty(2),
            seed=5,
            steps=4,
            cfg=3.0,
        )

    def steered(self, method: str) -> Node:
        if method == "vendi guidance":
            return spread_out(self, self.demo[0])
        if method == "feature guidance":
            settings = {"mode": "spread", "strength": 2.0, "start_percent": 0.0, "end_percent": 1.0, "layers": "all"}
            return self.add("DiversityFeatureGuidance", model=self.demo, **settings)
        return self.repel()


def sampled(client: HostClient, graph: Sampling, guided: Node, samples: Node) -> tuple[Tensor, list[str]]:
    """Latents in the model's space, and what the node of the guidance says run by run."""
    saved = graph.latents(samples)
    heard = listen(client, graph.prompt)
    return to_model_space(latents_of(client, heard.run, saved)), [
        text for node, text in heard.texts if node == guided.id
    ]


def apart(latents: Tensor) -> float:
    return float(torch.dist(*latents.double().flatten(1)))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("method", ["sparse repellency", "vendi guidance", "feature guidance"])
def test_every_method_acts(client: HostClient, sampler: str, method: str) -> None:
    graph = Sampling()
    guided = graph.steered(method)
    plain = graph.latents(graph.by(sampler, graph.demo))
    latents, told = sampled(client, graph, guided, graph.by(sampler, guided))
    unguided = to_model_space(latents_of(client, client.run(graph.prompt), plain))
    assert latents.isfinite().all()
    assert apart(latents) > apart(unguided)
    assert float((latents - unguided).abs().max()) > 0.05
    assert all(text.startswith(("Moved 2 of 2", "Steered 2")) for text in told), told
    # Each step of each tile is a run of its own.
    assert len(told) == (4 * 4 if sampler == TILES else 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_of_a_batch_are_outside_each_others_shields(client: HostClient, sampler: str) -> None:
    graph = Sampling()
    radius = RADIUS / 2 if sampler == TILES else RADIUS
    guided = graph.repel(radius=0.0, absolute_radius=radius, ensure_outside=True)
    latents, told = sampled(client, graph, guided, graph.by(sampler, guided))
    parts = [latents]
    if sampler == TILES:
        parts = [tile for rows in latents.split(SIDE, -2) for tile in rows.split(SIDE, -1)]
        assert sum("left noise" in text for text in told) == 3 * 4
    for part in parts:
        assert apart(part) >= radius * (1 - 1e-5)
    assert "NOT" not in "".join(told) and "still" not in "".join(told)


def test_what_iterations_hold_stays(client: HostClient) -> None:
    graph = Sampling()
    held = graph.latents(graph.masked())
    guided = graph.repel(radius=0.0, absolute_radius=RADIUS, ensure_outside=True)
    latents, _ = sampled(client, graph, guided, graph.by(ITERATIONS, guided))
    before = to_model_space(latents_of(client, client.run(graph.prompt), held))
    assert torch.allclose(latents[..., 4:], before[..., 4:], atol=1e-4)
    assert not torch.allclose(latents[..., :4], before[..., :4], atol=0.1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_protected_images(server: HostServer, client: HostClient, sampler: str) -> None:
    """Those of the whole size say nothing of a tile."""
    graph, name = Sampling(), f"for {sampler}"
    images = graph.add("VAEDecode", samples=graph.by(sampler, graph.demo), vae=graph.demo[2])
    given = {"vae": graph.demo[2], "model": graph.demo[0], "folder": "", "width": 64, "height": 64}
    index = graph.add("DiversityBuildProtectedIndex", name=name, images=images, **given)
    guided = graph.repel(radius=0.3, in_batch=False, ensure_outside=True, protected=index)
    samples = graph.by(sampler, guided)
    graph.latents(samples)
    if sampler == TILES:
        with pytest.raises(RunFailed, match=r"holds latents of 16 x 8 x 8 and this run samples 16 x 4 x 4: nothing"):
            client.run(graph.prompt)
        return
    latents, told = sampled(client, graph, guided, samples)
    protected = to_model_space(ProtectedIndex.open(server.base / "models" / "diversity_indexes" / name).sample(2))
    free = slice(0, 4) if sampler == ITERATIONS else slice(None)
    between = torch.cdist(*(each[..., free].double().flatten(1) for each in (latents, protected)))
    radius = float(told[-1].split("radius ")[1].split(":")[0])
    assert radius > 5
    assert float(between.min()) >= radius * (1 - 5e-3)
    assert "Every image is outside every shield" in told[-1]
