"""What people expect of a public project: its pages agree with it and with one another, and links lead somewhere."""

from __future__ import annotations

import ast
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from project import release
from project.tree import ROOT, project_files, project_texts, pyproject
from support.node_ids import node_classes

CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""The kinds of change that Keep a Changelog knows."""

NETWORK = {
    "aiohttp",
    "ftplib",
    "http",
    "httpx",
    "huggingface_hub",
    "requests",
    "smtplib",
    "socket",
    "urllib",
    "urllib3",
}
"""Modules that reach the network."""

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
PAGES = [path for path in project_files() if path.suffix == ".md"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def relative_links(page: Path) -> list[str]:
    plain = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", plain)
    return [link for link in links if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    if page.parent == ROOT / "web" / "docs":
        return  # the editor serves these; their links are for it
    assert [link for link in relative_links(page) if not (page.parent / link).exists()] == []


def test_the_index_of_the_documentation_lists_every_page() -> None:
    listed = {(ROOT / "docs" / link).resolve() for link in relative_links(ROOT / "docs" / "README.md")}
    pages = {path for path in PAGES if (ROOT / "docs") in path.parents and path.name != "README.md"}
    assert pages <= listed


def test_the_changelog_has_the_form_that_tools_read() -> None:
    lines = text("CHANGELOG.md").splitlines()
    assert lines[0] == "# Changelog"
    sections = [line for line in lines if line.startswith("## ")]
    assert sections[0] == "## [Unreleased]"
    assert len(sections) == 1 + len(release.released())
    assert {line.removeprefix("### ") for line in lines if line.startswith("### ")} <= CHANGES
    numbers = [tuple(map(int, version.split("."))) for version in release.released()]
    assert all(newer > older for newer, older in pairwise(numbers))


def test_versions_agree() -> None:
    version = pyproject()["project"]["version"]
    assert set(release.versions().values()) == {version}
    assert release.released()[:1] in ([], [version])


def released_tree(folder: Path, **other: tuple[str, str]) -> Path:
    """A copy of the files that name a version, with 0.1.0 released; ``other`` replaces words in them."""
    for name in (*release.VERSIONS, "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder / name)
    changelog = folder / "CHANGELOG.md"
    version = pyproject()["project"]["version"]
    changed = changelog.read_text(encoding="utf-8").replace(
        "## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - 2030-01-31\n", 1
    )
    changelog.write_text(changed, encoding="utf-8")
    for stem, (old, new) in other.items():
        path = next(folder.glob(f"{stem}.*"))
        content = path.read_text(encoding="utf-8")
        assert old in content
        path.write_text(content.replace(old, new, 1), encoding="utf-8")
    return folder


def test_a_release_is_published_when_everything_agrees(tmp_path: Path) -> None:
    version = pyproject()["project"]["version"]
    assert release.problems(f"v{version}", released_tree(tmp_path)) == []


@pytest.mark.parametrize(
    ("tag", "other", "said"),
    [
        ("v9.9.9", {}, "says"),
        ("{version}", {}, "does not begin with v"),
        ("v{version}", {"CITATION": ("\nversion: ", "\nversion: 9")}, "CITATION.cff says 9"),
        ("v{version}", {"__init__": ('__version__ = "', '__version__ = "9')}, "__init__.py says 9"),
        ("v{version}", {"CHANGELOG": ("] - 2030", "] of 2030")}, "The newest dated section"),
    ],
)
def test_a_release_is_refused_when_something_differs(
    tmp_path: Path, tag: str, other: dict[str, tuple[str, str]], said: str
) -> None:
    found = release.problems(tag.format(version=pyproject()["project"]["version"]), released_tree(tmp_path, **other))
    assert any(said in line for line in found)


def test_the_citation_has_what_its_format_requires() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"] and citation["authors"] and citation["type"] == "software"
    assert citation["title"] == pyproject()["tool"]["comfy"]["DisplayName"]
    assert citation["license"] == pyproject()["project"]["license"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all(author.keys() == {"family-names", "given-names"} for author in reference["authors"])
        assert all(identifier["type"] in {"doi", "url", "swh", "other"} for identifier in reference["identifiers"])


def test_the_citation_names_the_papers_that_the_readme_names() -> None:
    sources = text("README.md").split("## Sources")[1]
    named = {number: title for title, number in re.findall(r"\*(.+?)\*, arXiv (\d{4}\.\d{5})", sources)}
    citation = yaml.safe_load(text("CITATION.cff"))
    cited = {
        identifier["value"].removeprefix("arXiv:"): reference["title"]
        for reference in citation["references"]
        for identifier in reference["identifiers"]
    }
    assert len(cited) == 5
    assert cited == named


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_can_be_filled_in(form: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert content["name"] and content["description"]
    fields = [item for item in content["body"] if item["type"] != "markdown"]
    assert {item["type"] for item in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    names = [item["id"] for item in fields]
    assert len(set(names)) == len(names)
    labels = [item["attributes"]["label"] for item in fields]
    assert len(set(labels)) == len(labels)
    assert any(item.get("validations", {}).get("required") for item in fields)
    assert all(item["attributes"]["options"] for item in fields if item["type"] in {"dropdown", "checkboxes"})


def test_three_kinds_of_issue_can_be_told() -> None:
    assert [form.stem for form in FORMS] == ["bug", "feature", "settings"]
    assert yaml.safe_load(text(".github/ISSUE_TEMPLATE/config.yml")).keys() == {"blank_issues_enabled"}


def test_settings_are_told_of_nodes_that_exist() -> None:
    form = yaml.safe_load(text(".github/ISSUE_TEMPLATE/settings.yml"))
    (nodes,) = [item["attributes"]["options"] for item in form["body"] if item.get("id") == "node"]
    titles = {
        keyword.value.value
        for _, node in node_classes().values()
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "io.Schema"
        for keyword in call.keywords
        if keyword.arg == "display_name" and isinstance(keyword.value, ast.Constant)
    }
    assert [name for name in nodes if not any(name in str(title) for title in titles)] == []


def test_a_pull_request_is_asked_for_what_the_rules_ask_for() -> None:
    template = text(".github/PULL_REQUEST_TEMPLATE.md")
    assert template.count("- [ ] ") >= 4
    for word in re.findall(r"`([^` ]+\.md)`", template):
        assert (ROOT / word).is_file(), f"{word} does not exist"


def test_the_repository_address_stands_in_one_place() -> None:
    """It is a guess until a person has filled it in; every copy would have to be found again then."""
    for address in pyproject()["project"]["urls"].values():
        bare = re.sub(r"^https?://|\.git$", "", address)
        assert [path.name for path, content in project_texts().items() if bare in content] == ["pyproject.toml"]


def test_the_licence_is_the_one_that_is_named() -> None:
    assert pyproject()["project"]["license"] == "MIT"
    assert text("LICENSE").startswith("MIT License\n")
    assert "MIT licence" in text("README.md")


def test_others_works_are_named_beside_what_is_made_of_them() -> None:
    """Reduced images under the Apache License are passed on, which asks for a copy of it; CC-BY asks for a link."""
    notices = list(ROOT.rglob("assets/NOTICE"))
    notice = ROOT / "embedded" / "assets" / "NOTICE"
    named = notice.read_text(encoding="utf-8")
    for work in ("Noto Emoji", "Twemoji", "Apache License, Version 2.0", "creativecommons.org/licenses/by/4.0"):
        assert work in named
    assert all(each.relative_to(ROOT).as_posix() in text("README.md") for each in notices)
    licence = notice.with_name("LICENSE-APACHE")
    assert licence.name in named
    assert "Version 2.0, January 2004" in licence.read_text() and "END OF TERMS AND CONDITIONS" in licence.read_text()
    shipped = {ROOT / path for path in pyproject()["project"]["license-files"]}
    assert shipped == {ROOT / "LICENSE", licence, *notices}


def test_nothing_reaches_the_network() -> None:
    """Ray alone connects to other machines, where it is asked to; whether one answers is tried first.

    The panel's routes only answer, on the host's own server.
    """
    found = []
    for path in project_files():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                names = [name for name in names if name.split(".")[0] in NETWORK]
                found += [f"{path.relative_to(ROOT).as_posix()} imports {name}" for name in names]
    assert sorted(found) == ["indexing/cluster.py imports socket", "nodes/panel/routes.py imports aiohttp"]


@pytest.mark.parametrize(("key", "shape"), [("Icon", (1, 1)), ("Banner", (21, 9))])
def test_the_registry_finds_an_image_of_the_shape_that_it_asks_for(key: str, shape: tuple[int, int]) -> None:
    address = pyproject()["tool"]["comfy"][key]
    repository = pyproject()["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    beginning = f"https://raw.githubusercontent.com/{repository}/main/"
    assert address.startswith(beginning)
    with Image.open(ROOT / address.removeprefix(beginning)) as image:
        width, height = image.size
    assert width * shape[1] == height * shape[0]
    assert key == "Banner" or width <= 400


def test_the_registry_leaves_out_what_exists() -> None:
    """Each line is one place: without the slash in front, docs/ would leave out the help pages in web/docs/ too."""
    lines = text(".comfyignore").split()
    assert [line for line in lines if line[0] != "/" or not (ROOT / line[1:]).exists()] == []
