"""Sampling that cannot reach its references is said to be in vain over several queues, and skipped."""

from __future__ import annotations

from typing import Any

import pytest
from support.graphs import Drawing, Graph, Node
from support.host_client import HostClient, RunFailed


def watched(name: str, references: str = "twelve", **settings: Any) -> tuple[Drawing, Node]:
    """A graph that samples into a bank, and its guard."""
    graph = Drawing()
    bank = graph.add("DiversityMemoryBank", name=name, revision=-1)
    real = {"reference": graph.add("TestPictures", kind=references)} if references else {}
    given = {"features": "random network", "coverage": 0.8, "planned": 20, "certainty": 0.95}
    given |= {"when_certain": "skip sampling", **settings}
    guard = graph.add("DiversityStopEarly", bank=bank, model=graph.demo, **real, **given)
    samples = graph.sample(guard[0], batch=10)
    images = graph.add("VAEDecode", samples=samples, vae=graph.demo[2])
    graph.add("DiversityRemember", samples=samples, model=graph.demo, name=name, images=images)
    return graph, guard


def queue(client: HostClient, graph: Drawing, seed: int) -> dict[str, Any]:
    """What the nodes show when this seed is queued."""
    for node in graph.prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["seed"] = seed
    return client.run(graph.prompt).outputs


def test_sampling_is_skipped_once_it_is_in_vain(client: HostClient) -> None:
    graph, guard = watched("in vain")
    count = graph.add("PreviewAny", source=graph.add("DiversityMemoryBank", name="in vain", revision=-1)[1])
    told = [queue(client, graph, seed)[guard.id]["verdict"][0] for seed in range(4)]
    said = [verdict["text"] for verdict in told]
    first = said.index("Stop: cannot reach 80%")
    assert said == [*(f"Go on: {10 * seed} of 20" for seed in range(first)), *["Stop: cannot reach 80%"] * (4 - first)]
    assert told[-1]["details"].startswith("Stop: after ") and "(10 of 12)" in told[-1]["details"]
    sampled = queue(client, graph, 5)[count.id]["text"][0]
    assert first in (1, 2) and sampled == str(10 * first), "nothing was sampled after stop"


def test_it_only_says_so_where_that_is_wanted(client: HostClient) -> None:
    graph, guard = watched("all the same", when_certain="only say so")
    shown = [queue(client, graph, seed) for seed in range(3)]
    assert shown[2][guard.id]["verdict"][0]["text"] == "Stop: cannot reach 80%"
    bank = Graph()
    count = bank.add("PreviewAny", source=bank.add("DiversityMemoryBank", name="all the same", revision=-1)[1])
    assert client.run(bank.prompt).outputs[count.id]["text"][0] == "30"


def test_without_references(client: HostClient) -> None:
    graph, _ = watched("without references", references="")
    with pytest.raises(RunFailed, match="connect reference or exemplars"):
        client.run(graph.prompt)


def test_held_out_images_say_what_real_ones_reach(client: HostClient) -> None:
    graph, guard = watched("held out")
    graph.prompt[guard.id]["inputs"]["held_out"] = [graph.add("TestPictures", kind="three").id, 0]
    shown = [queue(client, graph, seed) for seed in range(3)]
    assert "of what real images reach" in shown[2][guard.id]["verdict"][0]["details"]
