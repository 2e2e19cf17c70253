"""Where there is nothing to do, the result is that of the unpatched graph, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.graphs import Drawing, Node, latents_of
from support.host_client import HostClient
from torch import Tensor


def drawn(client: HostClient, patch: Callable[[Drawing], Node | None], batch: int = 2) -> Tensor:
    """Final latents of a graph whose model went through ``patch``."""
    graph = Drawing()
    saved = graph.latents(graph.sample(patch(graph), batch=batch))
    return latents_of(client, client.run(graph.prompt), saved)


@pytest.fixture(scope="module")
def plain(server) -> dict[int, Tensor]:
    """Results without any node of ours between model and sampler, by batch size."""
    return {batch: drawn(server.client, lambda graph: None, batch) for batch in (1, 2)}


def empty_bank(graph: Drawing) -> Node:
    return graph.add("DiversityMemoryBank", name="never made", revision=-1)


@pytest.mark.parametrize(
    ("name", "batch", "patch"),
    [
        ("strength 0", 2, lambda graph: graph.repel(strength=0.0)),
        ("radius 0", 2, lambda graph: graph.repel(radius=0.0)),
        ("strength 0 with a bank", 2, lambda graph: graph.repel(strength=0.0, bank=empty_bank(graph))),
        ("empty bank, batch of 1", 1, lambda graph: graph.repel(bank=empty_bank(graph))),
        ("empty bank, not in batch", 2, lambda graph: graph.repel(bank=empty_bank(graph), in_batch=False)),
        ("nothing active", 2, lambda graph: graph.repel(start_percent=1.0, end_percent=1.0)),
        ("tiny radius", 2, lambda graph: graph.repel(radius=0.0, absolute_radius=1e-3)),
        ("outside, tiny radius", 2, lambda graph: graph.repel(radius=1e-4, overlap="outside", ensure_outside=True)),
    ],
)
def test_nothing_to_do(
    client: HostClient, plain: dict[int, Tensor], name: str, batch: int, patch: Callable[[Drawing], Node]
) -> None:
    assert torch.equal(drawn(client, patch, batch), plain[batch])


def test_guidance_does_something(client: HostClient, plain: dict[int, Tensor]) -> None:
    guided = drawn(client, lambda graph: graph.repel())
    assert guided.isfinite().all()
    assert torch.dist(guided[0], guided[1]) > 1.1 * torch.dist(plain[2][0], plain[2][1])


def test_the_model_itself_stays_unpatched(client: HostClient, plain: dict[int, Tensor]) -> None:
    """A patched clone and the original in one graph."""
    graph = Drawing()
    steered = graph.latents(graph.sample(graph.repel()))
    unsteered = graph.latents(graph.sample())
    run = client.run(graph.prompt)
    assert torch.equal(latents_of(client, run, unsteered), plain[2])
    assert not torch.equal(latents_of(client, run, steered), plain[2])
