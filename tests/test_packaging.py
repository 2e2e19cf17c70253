"""What a registry, ComfyUI Manager and pip read of the repository says the truth."""

from __future__ import annotations

import json
import re

from project.tree import ROOT, pyproject
from support.node_ids import node_classes
from support.subgraphs import unfold

PROJECT = pyproject()
NOT_PACKAGES = {"tests", "build", "dist"}
# Loads what the user saved before, which an example cannot have.
NEEDS_A_FILE = {"DiversityFeatureCentroid", "DiversityProtectedIndex"}


def packages() -> set[str]:
    folders = [path.parent.relative_to(ROOT) for path in ROOT.rglob("__init__.py")]
    kept = [folder for folder in folders if not any(part in NOT_PACKAGES or part[0] == "." for part in folder.parts)]
    return {".".join(["diversity_guidance", *folder.parts]) for folder in kept}


def test_every_package_is_installed() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages()


def test_what_is_packaged_exists() -> None:
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package} ships {pattern}, and there is none"


def test_manager_installs_what_pip_installs() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert sorted(lines) == sorted(PROJECT["project"]["dependencies"])


def test_the_users_torch_is_left_alone() -> None:
    for line in PROJECT["project"]["dependencies"]:
        assert not line.startswith("torch")


def test_every_node_has_the_prefix_and_a_help_page() -> None:
    nodes = node_classes()
    assert nodes
    for node_id in nodes:
        assert node_id.startswith("Diversity")
        assert (ROOT / "web" / "docs" / f"{node_id}.md").is_file(), f"{node_id} has no help page"
    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    assert pages == set(nodes)


def test_the_manager_finds_every_node() -> None:
    """Its scanner knows direct subclasses alone, and the prefix tells ours from the host's."""
    classes = set()
    for path in (ROOT / "nodes").rglob("*.py"):
        classes |= set(re.findall(r"^class (Diversity\w+)\(.*ComfyNode\)", path.read_text(encoding="utf-8"), re.M))
    assert {item.name for _, item in node_classes().values()} == set(node_classes()) == classes


def test_every_node_is_in_an_example_workflow() -> None:
    used = set()
    for path in (ROOT / "example_workflows").glob("*.json"):
        assert path.with_suffix(".jpg").is_file(), f"{path.name} has no thumbnail"
        workflow = json.loads(path.read_text(encoding="utf-8"))
        used |= {node["type"] for node in unfold(workflow)["nodes"]}
    for_experts = {node for node in node_classes() if node.endswith(("Options", "Numbers"))}
    assert set(node_classes()) - NEEDS_A_FILE - for_experts <= used


def test_the_embedded_model_stays_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "embedded" / "assets").iterdir()) <= 30_000_000
