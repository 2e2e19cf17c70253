"""The example workflows: valid files that show what they say in a real server."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diversity_guidance import __version__
from diversity_guidance.embedded.judge import Judge
from PIL import Image
from support.example_prompts import as_sampled, quick, savers
from support.graphs import pictures_of
from support.host_client import HostClient
from support.host_server import PACK, HostServer
from support.model_examples import PREFIX
from support.subgraphs import unfold
from support.workflows import NOTES, to_api, widget_names

EVERY_FILE = sorted((PACK / "example_workflows").glob("*.json"))
FILES = [path for path in EVERY_FILE if not path.stem.startswith(PREFIX)]
"""Those of the embedded model, which run on every host; the others are in test_model_workflows.py."""

ALIKE = "Same prompt, eight alike and eight different"
TURBO = "Turbo model, three times eight images"
GROWING = "Memory bank that grows with every queue"


def workflow_in(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_examples_are_there() -> None:
    assert {path.stem[3:] for path in FILES} >= {ALIKE, GROWING}


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: path.stem)
def test_the_file_is_what_the_editor_reads(path: Path) -> None:
    """The rules of the editor's own schema, version 0.4, and what the Manager needs to find missing nodes."""
    workflow = workflow_in(path)
    assert workflow["version"] == 0.4
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"])
    assert workflow["last_node_id"] == max(nodes)
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])
    folded = {made["id"]: made["nodes"] for made in workflow.get("definitions", {}).get("subgraphs", [])}
    inside = [node for made in folded.values() for node in made]
    for node in [*(node for node in nodes.values() if node["type"] not in folded), *inside]:
        assert node.keys() >= {"id", "type", "pos", "size", "flags", "order", "mode", "properties"}
        origin = node["properties"]["cnr_id"], node["properties"]["ver"]
        ours = node["type"].startswith("Diversity")
        assert origin == ("diversity-guidance", __version__) if ours else origin[0] == "comfy-core"
        assert re.fullmatch(r"\d+\.\d+\.\d+", origin[1])
    assert any(node["type"] in NOTES for node in nodes.values())
    for link, source, source_slot, target, target_slot, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][source_slot]["links"]
        assert nodes[target]["inputs"][target_slot]["link"] == link
        assert nodes[source]["outputs"][source_slot]["type"] == nodes[target]["inputs"][target_slot]["type"] == kind
    picture = Image.open(path.with_suffix(".jpg"))
    assert picture.width == picture.height


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_nodes_are_those_of_the_host(path: Path, client: HostClient) -> None:
    check_nodes(workflow_in(path), client.object_info())


def test_the_nodes_are_those_of_every_other_host(other_server: HostServer) -> None:
    object_info = other_server.client.object_info()
    for path in FILES:
        check_nodes(workflow_in(path), object_info)


def check_nodes(workflow: dict[str, Any], object_info: dict[str, Any]) -> None:
    for node in unfold(workflow)["nodes"]:
        if node["type"] not in NOTES:
            info = object_info[node["type"]]
            known = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
            sockets = {socket["name"] for socket in node["inputs"]}
            assert sockets <= known.keys()
            # An input that was added later could not be wired in an old file.
            assert not node["type"].startswith("Diversity") or known.keys() <= {*sockets, *widget_names(info)}
            check_outputs(node, info["output"])
    to_api(workflow, object_info)


def check_outputs(node: dict[str, Any], types: list[str]) -> None:
    """Core nodes may have more outputs on one host than on another: those that are wired must be there."""
    saved = [output["type"] for output in node["outputs"]]
    wired = [place for place, output in enumerate(node["outputs"]) if output["links"]]
    common = min(len(saved), len(types))
    assert saved[:common] == types[:common]
    assert not wired or max(wired) < common
    assert not node["type"].startswith("Diversity") or saved == types


def test_the_host_offers_them_as_templates(client: HostClient) -> None:
    templates = client.get("/workflow_templates").json()
    assert set(templates["diversity-guidance"]) == {path.stem for path in EVERY_FILE}


@pytest.mark.parametrize(("title", "subject", "steps"), [(ALIKE, "doctor", 24), (TURBO, "elf", 8)])
def test_eight_alike_and_eight_different(client: HostClient, title: str, subject: str, steps: int) -> None:
    """More modes, and all of them what the prompt says."""
    prompt = quick(client, title, steps)
    run = client.run(prompt)
    judge = Judge.load()
    batches = [as_sampled(pictures_of(client, run, node)) for node in savers(prompt)]
    before, *after = (judge.coverage(judge.judge(images, subject), subject) for images in batches)
    assert all(len(images) == 8 for images in batches)
    for guided in after:
        assert guided.reached_well >= before.reached_well + 2
        assert guided.fidelity >= before.fidelity - 1 / 8


def test_a_bank_that_grows(server: HostServer, client: HostClient) -> None:
    prompt = quick(client, GROWING)
    (saver,) = savers(prompt)
    batches = [pictures_of(client, client.run(prompt), saver) for _ in range(3)]
    for earlier, later in combinations(batches, 2):
        nearest = [min(np.abs(new.astype(float) - old).mean() for old in earlier) for new in later]
        assert min(nearest) > 0.2, "an image was drawn twice"
        assert np.mean(nearest) > 2
    assert (server.base / "user" / "diversity_banks" / "first steps").is_dir()
