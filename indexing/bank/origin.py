"""What a PNG that ComfyUI saved tells of its origin: prompt, seed, and the Memory Banks that it was sampled beside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...features.image_files import ImageFileError, read_texts

BANKS = "diversity_banks"
"""Under this name, images note the banks that they were sampled beside."""

FOLLOWED = 64
"""Nodes between a sampler and the text of its prompt, at most."""


class BankState(NamedTuple):
    """A Memory Bank that an image was sampled beside.

    Attributes:
        name: of the bank.
        revision: of the bank.
        digest: of that revision's content.
    """

    name: str
    revision: int
    digest: str


@dataclass(frozen=True)
class ImageOrigin:
    """What an image's file tells of it.

    Attributes:
        prompt: that it was sampled from; None where the file does not tell one.
        seed: of its sampler; None where the file does not tell one.
        banks: that it was sampled beside.
    """

    prompt: str | None = None
    seed: int | None = None
    banks: tuple[BankState, ...] = ()


def image_origin(path: Path) -> ImageOrigin:
    """The origin of an image file; empty where the file tells nothing, or cannot be read."""
    try:
        texts = read_texts(path)
    except ImageFileError:
        return ImageOrigin()
    graph = _parsed(texts.get("prompt"))
    nodes = {str(name): node for name, node in graph.items() if isinstance(node, dict)}
    noted = [_parsed(texts.get(BANKS)), *(_mapping(_mapping(node.get("_meta")).get(BANKS)) for node in nodes.values())]
    seeds, prompts = set(_seeds(nodes)), set(_prompts(nodes))
    return ImageOrigin(
        # With several samplers, or several prompts, it cannot be told whose image it is.
        prompts.pop() if len(prompts) == 1 else None,
        seeds.pop() if len(seeds) == 1 else None,
        tuple(dict.fromkeys(state for banks in noted for state in _states(banks))),
    )


def _states(banks: Mapping[str, Any]) -> Iterator[BankState]:
    for name, state in banks.items():
        revision, digest = _mapping(state).get("revision"), _mapping(state).get("digest")
        if isinstance(revision, int) and isinstance(digest, str):
            yield BankState(str(name), revision, digest)


def _seeds(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[int]:
    for node in nodes.values():
        inputs = _mapping(node.get("inputs"))
        for name in ("seed", "noise_seed"):
            seed = inputs.get(name)
            if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**64:
                yield seed


def _prompts(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The texts that the samplers' positive prompts lead to."""
    for node in nodes.values():
        link = _mapping(node.get("inputs")).get("positive")
        for _ in range(FOLLOWED):
            source = nodes.get(str(link[0])) if isinstance(link, list) and link else None
            if source is None:
                break
            inputs = _mapping(source.get("inputs"))
            text = next((inputs[name] for name in ("text", "prompt") if name in inputs), None)
            if isinstance(text, str):
                yield text
                break
            link = text if text is not None else inputs.get("conditioning", inputs.get("positive"))


def _parsed(text: str | None) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
