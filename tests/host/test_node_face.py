"""What an artist sees of the nodes before anything runs: titles, menu, words to search by, tooltips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.example_prompts import quick
from support.graphs import Drawing
from support.host_client import HostClient
from support.host_server import PACK, HostServer
from support.node_sizes import speaks
from support.workflows import inputs_of, widget_names

MOST_WIDGETS = 6
BRANCHES = {"guidance", "memory", "protection", "features", "measure"}
WORDS = {
    "same face",
    "same picture",
    "all images look alike",
    "variety",
    "variation",
    "different",
    "repeat",
    "duplicate",
    "unique",
    "novelty",
    "seed variance",
    "mode collapse",
    "cads",
    "memory",
}
"""What people type who have never heard of a method."""


Infos = dict[str, dict[str, Any]]


def nodes_of(server: HostServer) -> Infos:
    """What a host knows of every node of the pack."""
    return {name: info for name, info in server.client.object_info().items() if name.startswith("Diversity")}


def sockets(info: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and type of every input and output."""
    yield from ((name, kind) for name, kind, _ in inputs_of(info))
    yield from zip(info["output_name"], info["output"], strict=True)


def check_every_input_and_output_is_explained(nodes: Infos) -> None:
    unexplained = []
    for node, info in nodes.items():
        unexplained += [f"{node}.{name}" for name, _, options in inputs_of(info) if not options.get("tooltip")]
        tooltips = info["output_tooltips"] or [None] * len(info["output"])
        named = zip(info["output_name"], tooltips, strict=True)
        unexplained += [f"{node} -> {name}" for name, tooltip in named if not tooltip]
    assert unexplained == []


def check_no_node_has_more_than_six_widgets(nodes: Infos) -> None:
    """The usual canvas draws advanced widgets like all others."""
    many = {node: names for node, info in nodes.items() if len(names := widget_names(info)) > MOST_WIDGETS}
    assert many == {}


def check_titles_and_menu_say_what_a_node_is_for(nodes: Infos) -> None:
    titles = [info["display_name"] for info in nodes.values()]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if "(Diversity)" in title]
    assert {info["category"] for info in nodes.values()} == {f"diversity/{branch}" for branch in BRANCHES}


def check_our_sockets_share_a_prefix(nodes: Infos) -> None:
    kinds = {kind for info in nodes.values() for _, kind in sockets(info) if isinstance(kind, str)}
    host = {"MODEL", "LATENT", "IMAGE", "VAE", "CLIP", "CLIP_VISION", "CONDITIONING", "NOISE"}
    plain = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
    assert all(kind.startswith("DIVERSITY_") for kind in kinds - host - plain)


def check_the_help_is_headed_by_the_title(nodes: Infos) -> None:
    for node, info in nodes.items():
        heading = (PACK / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8").splitlines()[0]
        assert heading == f"# {info['display_name']}"


CHECKS = [
    check_every_input_and_output_is_explained,
    check_no_node_has_more_than_six_widgets,
    check_titles_and_menu_say_what_a_node_is_for,
    check_our_sockets_share_a_prefix,
    check_the_help_is_headed_by_the_title,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_first_host(check: Callable[[Infos], None], server: HostServer) -> None:
    check(nodes_of(server))


@pytest.mark.parametrize("check", CHECKS)
def test_other_hosts(check: Callable[[Infos], None], other_server: HostServer) -> None:
    check(nodes_of(other_server))


def test_nodes_are_found_by_plain_words(server: HostServer) -> None:
    """Older hosts know no aliases."""
    assert {alias for info in nodes_of(server).values() for alias in info.get("search_aliases") or ()} >= WORDS


def test_what_a_node_said_is_kept_with_its_run(client: HostClient) -> None:
    """From there the editor's extension reads it after a reload."""
    graph = Drawing()
    pick = graph.add("DiversityPick", samples=graph.sample(steps=2), count=1)
    graph.latents(pick)
    (said,) = client.run(graph.prompt).outputs[pick.id]["verdict"]
    assert said["details"].startswith("Picked of 2: ")


def test_every_node_that_speaks_is_kept_with_its_run(client: HostClient) -> None:
    spoke = set()
    for path in (PACK / "example_workflows").glob("[01]*.json"):
        prompt = quick(client, path.stem[3:], steps=2)
        kinds = {identity: node["class_type"] for identity, node in prompt.items()}
        outputs = client.run(prompt).outputs
        said = {kinds[node] for node, output in outputs.items() if has_text(output.get("verdict", []))}
        assert said == {kind for kind in kinds.values() if speaks(kind)}, path.stem
        spoke |= said
    ours = {kind for kind in client.object_info() if speaks(kind)}
    assert ours - spoke <= {"DiversityProtectedIndex", "DiversityFeatureCentroid"}  # they load what a run has saved


def has_text(verdicts: list[dict[str, str]]) -> bool:
    return any(verdict["text"] or verdict["details"] for verdict in verdicts)
