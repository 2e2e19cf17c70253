"""Translations are complete: the same texts as in English, translated, with every number and choice in its place."""

from __future__ import annotations

import json
import re

import pytest
from project.locales import TRANSLATED, leaves, read
from project.tree import ROOT, pyproject

FILES = ("nodeDefs", "main")
SAME = {"CLIP", "VAE", "alpha", "beta"}
"""Names that every language keeps."""

HAN_OR_KANA = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")


def choices() -> dict[tuple[str, str], list[str]]:
    """The values of every combo, by node and input: a host does not translate them."""
    definitions = json.loads((ROOT / "tests" / "host" / "node_definitions.json").read_text(encoding="utf-8"))
    return {
        (node, item["name"]): item["options"]
        for node, told in definitions.items()
        for item in told["inputs"]
        if item.get("options")
    }


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_there_and_translated(language: str, name: str) -> None:
    english, texts = dict(leaves(read("en", name))), dict(leaves(read(language, name)))
    assert texts.keys() == english.keys()
    own = "Latent" if language == "zh" else ""
    assert [path for path, text in texts.items() if not HAN_OR_KANA.search(text) and text not in {*SAME, own}] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_english_sentence_is_left(language: str) -> None:
    """Four words of English in a row are a sentence that was forgotten, unless they are a sample prompt."""
    sample = "woman running dark skin tone"
    for path, text in leaves(read(language, "nodeDefs")):
        assert not re.search(r"(?:\b[A-Za-z]+ ){3}[A-Za-z]+", text.replace(sample, "")), path


@pytest.mark.parametrize("language", TRANSLATED)
def test_numbers_are_kept(language: str) -> None:
    texts = dict(leaves(read(language, "nodeDefs")))
    for path, english in leaves(read("en", "nodeDefs")):
        numbers = [sorted(set(re.findall(r"-?\d+(?:\.\d+)?", text))) for text in (english, texts[path])]
        assert numbers[0] == numbers[1], path


@pytest.mark.parametrize("language", TRANSLATED)
def test_choices_are_named_as_the_widget_names_them(language: str) -> None:
    texts, english = read(language, "nodeDefs"), read("en", "nodeDefs")
    for (node, name), options in choices().items():
        told = english[node]["inputs"][name]["tooltip"]
        for option in options:
            if re.search(rf"\b{re.escape(option)}\b", told):
                assert option in texts[node]["inputs"][name]["tooltip"], (node, name, option)


def test_they_are_shipped() -> None:
    assert "locales/*/*.json" in pyproject()["tool"]["setuptools"]["package-data"]["diversity_guidance"]
    ignored = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    assert not [line for line in ignored if line.strip("/").startswith("locales")]
