"""Hosts of other ages: the same numbers as on the first one, and each one's own ways."""

from __future__ import annotations

import re
from uuid import uuid4

import torch
from support.graphs import Drawing, latents_of
from support.host_client import HostClient
from support.host_server import HostServer
from support.node_ids import node_classes
from torch import Tensor


def drawn_twice(client: HostClient) -> list[Tensor]:
    """Two queues of a bank that grows, with every option that touches the host."""
    graph, name = Drawing(), uuid4().hex
    bank = graph.add("DiversityMemoryBank", name=name, revision=-1)
    repelled = graph.repel(bank=bank, overlap="outside", ensure_outside=True)
    samples = graph.sample(repelled, batch=2)
    graph.add("DiversityRemember", samples=samples, model=graph.demo, name=name)
    saved = graph.latents(samples)
    return [latents_of(client, client.run(graph.prompt), saved) for _ in range(2)]


def test_it_knows_all_nodes_and_its_log_is_clean(other_server: HostServer) -> None:
    assert other_server.client.object_info().keys() >= node_classes().keys()
    check_log(other_server)


def test_the_log_of_the_first_host_is_clean(server: HostServer) -> None:
    check_log(server)


def check_log(host: HostServer) -> None:
    """Of the pack it says while it starts how long its import took, and nothing else."""
    start = host.log.partition("To see the GUI go to")[0]
    assert re.search(r"seconds: .*diversity-guidance$", start, re.MULTILINE)
    ours = [line for line in start.splitlines() if "diversity" in line.lower()]
    expected = r"seconds: .*diversity-guidance(-tests)?$|Adding extra search path diversity_banks "
    assert [line for line in ours if not re.search(expected, line)] == []


def test_it_draws_the_same(server: HostServer, other_server: HostServer) -> None:
    here, there = drawn_twice(server.client), drawn_twice(other_server.client)
    for first, other in zip(here, there, strict=True):
        assert torch.allclose(first, other, atol=1e-4)
    assert torch.dist(there[0], there[1]) > 3


def test_banks_live_where_the_user_wants_them(server: HostServer, other_server: HostServer) -> None:
    """By default in the user directory; extra_model_paths.yaml moves them. Never in the pack."""
    for host, folder in ((server, "user/diversity_banks"), (other_server, "elsewhere")):
        graph = Drawing()
        graph.add("DiversityRemember", samples=graph.sample(batch=1), model=graph.demo, name="where am I")
        host.client.run(graph.prompt)
        assert (host.base / folder / "where am I" / "index.sqlite").is_file()
    assert not (other_server.base / "user" / "diversity_banks" / "where am I").exists()


def test_an_inpainting_mask_shaped_by_it(other_server: HostServer) -> None:
    graph = Drawing()
    before = graph.masked()
    after = graph.sample(graph.repel(ensure_outside=True, radius=2.0), latent=before, seed=2)
    saved = graph.latents(before), graph.latents(after)
    run = other_server.client.run(graph.prompt)
    old, new = (latents_of(other_server.client, run, node) for node in saved)
    assert torch.allclose(new[..., 5:], old[..., 5:], atol=1e-5)
    assert not torch.allclose(new[..., :3], old[..., :3], atol=0.1)


def test_stores_are_no_models_to_the_host(server: HostServer, other_server: HostServer) -> None:
    """Wherever they are configured: the model library would list every shard."""
    for host in (server, other_server):
        for path in ("/models", "/experiment/models"):
            assert "checkpoints" in (answer := host.client.get(path).text) and "diversity" not in answer
