"""The texts of all nodes in the form in which ComfyUI reads ``locales/``: English from the nodes, others beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from support.workflows import inputs_of

from .tree import ROOT

FOLDER = ROOT / "locales"
TRANSLATED = ("ja", "zh")

Texts = dict[str, Any]


def key(name: str) -> str:
    """A name as the editor looks it up: a point would divide it."""
    return name.replace(".", "_")


def node_texts(object_info: Mapping[str, Any]) -> Texts:
    """``nodeDefs.json``: titles, descriptions, names and tooltips of our nodes, as a host tells them."""
    return {
        key(node): {
            "display_name": info["display_name"],
            "description": info["description"],
            "inputs": {
                key(name): {"name": name, "tooltip": options["tooltip"]} for name, _, options in inputs_of(info)
            },
            "outputs": {
                str(place): {"name": name, "tooltip": tooltip}
                for place, (name, tooltip) in enumerate(zip(info["output_name"], info["output_tooltips"], strict=True))
            },
        }
        for node, info in sorted(object_info.items())
        if node.startswith("Diversity")
    }


def menu_texts(object_info: Mapping[str, Any]) -> Texts:
    """``main.json``: every part of our nodes' categories, and what the panel Memory says."""
    categories = {info["category"] for node, info in object_info.items() if node.startswith("Diversity")}
    parts = sorted({part for name in categories for part in name.split("/")})
    return {"diversityMemory": panel_texts(), "nodeCategories": {part: part for part in parts}}


def panel_texts() -> Texts:
    """Every text that the panel's scripts say, by itself."""
    said = {
        text
        for path in (ROOT / "web" / "js").glob("memory*.js")
        for text in re.findall(r'\bsay\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    return {text: text for text in sorted(said)}


def read(language: str, name: str) -> Texts:
    """One file of a language."""
    return json.loads((FOLDER / language / f"{name}.json").read_text(encoding="utf-8"))


def write(language: str, name: str, texts: Texts) -> None:
    """Write one file of a language."""
    (FOLDER / language).mkdir(parents=True, exist_ok=True)
    text = json.dumps(texts, indent=2, ensure_ascii=False) + "\n"
    (FOLDER / language / f"{name}.json").write_text(text, encoding="utf-8")


def leaves(texts: Texts, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text and where it stands."""
    for name, value in texts.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value
