"""Inputs that do not fit, along a wire from a socket that fits everywhere or in the prompt: a clear sentence each."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from support.host_server import HostServer
from support.misfits import SOURCES, VALUES, Misfitting, complaint, inputs_of, misfits
from support.node_ids import node_classes

pytestmark = pytest.mark.host
ROUNDS = 2
"""How often every input is tried in the short form: along a wire, and in the prompt."""


@pytest.fixture(scope="module")
def object_info(server: HostServer) -> dict[str, Any]:
    return server.client.object_info()


def test_every_kind_of_socket_has_a_value_that_fits(object_info: dict[str, Any]) -> None:
    widgets = {"INT", "FLOAT", "BOOLEAN", "COMBO"}
    kinds = {
        spec[0]
        for node in node_classes()
        for spec in inputs_of(object_info[node]).values()
        if not isinstance(spec[0], list)
    }
    assert kinds - widgets <= SOURCES.keys()


@pytest.mark.parametrize("node", sorted(node_classes()))
def test_what_fits_is_taken(server: HostServer, object_info: dict[str, Any], node: str) -> None:
    if node == "DiversityFeatureCentroid":
        graph = Misfitting(object_info, "DiversityDemoModel")
        graph.ours("DiversityFeatureProbe", latents=graph.sample(steps=1)[0], save_as=VALUES["name"])
        server.client.run(graph.prompt)
    if node == "DiversityProtectedIndex":
        server.client.run(Misfitting(object_info, "DiversityBuildProtectedIndex").prompt)
    server.client.run(Misfitting(object_info, node).prompt)


@pytest.mark.parametrize("node", sorted(node_classes()))
def test_some_misfits(server: HostServer, object_info: dict[str, Any], node: str) -> None:
    count = ROUNDS * len(inputs_of(object_info[node]))
    check(server, object_info, node, count)


@pytest.mark.campaign
@pytest.mark.parametrize("node", sorted(node_classes()))
def test_all_misfits(server: HostServer, object_info: dict[str, Any], node: str) -> None:
    check(server, object_info, node, None)


def check(server: HostServer, object_info: dict[str, Any], node: str, count: int | None) -> None:
    tried = list(islice(misfits(object_info, node), count))
    found = [
        told
        for misfit in tried
        if (told := complaint(server.client, misfit, Misfitting(object_info, node, misfit).prompt))
    ]
    assert found == [], "\n".join(found) + f"\n{len(found)} of {len(tried)} answers are unclear"
    server.client.get("/system_stats")
