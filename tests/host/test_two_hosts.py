"""An older and a newer host: the same numbers, and each one's own ways."""

from __future__ import annotations

import torch
from support.graphs import Drawing, latents_of
from support.host_client import HostClient
from support.host_server import HostServer
from torch import Tensor

NODES = {"DiversityDemoModel", "DiversityMemoryBank", "DiversityRemember", "DiversitySparseRepellency"}


def drawn_twice(client: HostClient) -> list[Tensor]:
    """Two queues of a bank that grows, with every option that touches the host."""
    graph = Drawing()
    bank = graph.add("DiversityMemoryBank", name="two hosts", revision=-1)
    repelled = graph.repel(bank=bank, overlap="clear", ensure_outside=True)
    samples = graph.sample(repelled, batch=2)
    graph.add("DiversityRemember", samples=samples, model=graph.demo, name="two hosts")
    saved = graph.latents(samples)
    return [latents_of(client, client.run(graph.prompt), saved) for _ in range(2)]


def test_both_hosts_know_all_nodes(server: HostServer, newer_server: HostServer) -> None:
    for host in (server, newer_server):
        assert host.client.object_info().keys() >= NODES


def test_both_hosts_draw_the_same(server: HostServer, newer_server: HostServer) -> None:
    old, new = drawn_twice(server.client), drawn_twice(newer_server.client)
    for older, newer in zip(old, new, strict=True):
        assert torch.allclose(older, newer, atol=1e-4)
    assert torch.dist(new[0], new[1]) > 3


def test_banks_live_where_the_user_wants_them(server: HostServer, newer_server: HostServer) -> None:
    """By default in the user directory; extra_model_paths.yaml moves them. Never in the pack."""
    for host, folder in ((server, "user/diversity_banks"), (newer_server, "elsewhere")):
        graph = Drawing()
        graph.add("DiversityRemember", samples=graph.sample(batch=1), model=graph.demo, name="where am I")
        host.client.run(graph.prompt)
        assert (host.base / folder / "where am I" / "index.sqlite").is_file()
    assert not (newer_server.base / "user" / "diversity_banks" / "where am I").exists()


def test_an_inpainting_mask_shaped_by_the_newer_host(newer_server: HostServer) -> None:
    graph = Drawing()
    before = graph.masked()
    after = graph.sample(graph.repel(ensure_outside=True, radius=2.0), latent=before, seed=2)
    saved = graph.latents(before), graph.latents(after)
    run = newer_server.client.run(graph.prompt)
    old, new = (latents_of(newer_server.client, run, node) for node in saved)
    assert torch.allclose(new[..., 5:], old[..., 5:], atol=1e-5)
    assert not torch.allclose(new[..., :3], old[..., :3], atol=0.1)
