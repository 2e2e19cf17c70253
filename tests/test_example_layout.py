"""How example workflows look when they open: no node covers another, and few of them at first sight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from project.tree import ROOT
from support.layout import box, overlapping
from support.model_examples import MOST_NODES, PREFIX
from support.workflows import NOTES

FILES = sorted((ROOT / "example_workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
OF_MODELS = [path for path in FILES if path.stem.startswith(PREFIX)]
LOADERS = {"CheckpointLoaderSimple": "checkpoints", "UNETLoader": "diffusion_models", "CLIPLoader": "text_encoders"} | {
    "DualCLIPLoader": "text_encoders",
    "VAELoader": "vae",
    "LoraLoaderModelOnly": "loras",
}
"""Nodes that load a file, and the folder that they look in."""


def graphs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A file's graph and those of its subgraphs, each with its name."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    yield path.stem, workflow
    for subgraph in workflow.get("definitions", {}).get("subgraphs", []):
        yield subgraph["name"], subgraph


@pytest.mark.parametrize("path", [*FILES, *BLUEPRINTS], ids=lambda path: path.stem)
def test_no_node_covers_another(path: Path) -> None:
    for name, graph in graphs(path):
        assert overlapping(graph["nodes"]) == [], name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_few_nodes_at_first_sight_each_in_a_group(path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    assert len(workflow["nodes"]) <= MOST_NODES
    frames = [group["bounding"] for group in workflow["groups"]]
    assert all(group["title"] and group["color"] for group in workflow["groups"])
    for node in workflow["nodes"]:
        left, top, right, bottom = box(node)
        around = [x < left and y < top and right < x + width and bottom < y + height for x, y, width, height in frames]
        assert sum(around) == (node["type"] not in NOTES), node["type"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_note_names_nodes_and_widgets_in_bold(path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    (note,) = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES]
    assert note.startswith("## ") and "**" in note and "`" not in note


def test_the_examples_are_numbered_from_the_easiest_on() -> None:
    """The editor shows them by name, and those that need a download after those that need none."""
    numbers = [path.stem[:3] for path in FILES if path not in OF_MODELS]
    assert numbers == [f"{place:02d} " for place in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("path", OF_MODELS, ids=lambda path: path.stem)
def test_every_file_that_is_loaded_has_a_folder_and_a_link(path: Path) -> None:
    loaders = [node for _, graph in graphs(path) for node in graph["nodes"] if node["type"] in LOADERS]
    assert loaders
    for node in loaders:
        names = [value for value in node["widgets_values"] if str(value).endswith(".safetensors")]
        assert [file["name"] for file in node["properties"]["models"]] == names
        for file in node["properties"]["models"]:
            assert file["directory"] == LOADERS[node["type"]]
            assert file["url"].startswith("https://huggingface.co/") and file["url"].endswith("/" + file["name"])


@pytest.mark.parametrize("path", OF_MODELS, ids=lambda path: path.stem)
def test_the_note_tells_what_was_not_measured_and_asks_for_reports(path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    (note,) = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES]
    (preset,) = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "DiversitySparseRepellency"]
    assert "Starting point: derived, not measured" in note
    assert f"The preset is **{preset}**" in note
    assert "**How it works on my model**" in note
