"""What the prompt, a graph in the API format, tells of the prompt and the seed that latents were sampled with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .prompt_graph import Found, Graph, followed, linked, node_of

LATENT_INPUTS = ("samples", "latent", "latents", "latent_image")
SEEDS = ("seed", "noise_seed")
CONDITIONINGS = ("positive", "conditioning", "cond1")
TEXTS = ("text", "prompt", "text_g", "text_l", "clip_g", "clip_l", "t5xxl", "llama", "tags")
CONSTANTS = ("value", "string", "text", *SEEDS)


def sampled_text(graph: Graph, node_id: str | None, name: str) -> str | None:
    """The prompt of the sampler behind a node's latents; None where the graph does not tell.

    Args:
        graph: the prompt of the run.
        node_id: the node.
        name: of its input.
    """
    sampler = _sampler(graph, node_id, name)
    if sampler is None:
        return None
    guider = followed(graph, sampler.node, "guider") or sampler
    return _joined(_conditioned(graph, followed(graph, guider.node, *CONDITIONINGS)))


def sampled_seed(graph: Graph, node_id: str | None, name: str) -> int | None:
    """The seed of the sampler behind a node's latents; None where the graph does not tell. Arguments as above."""
    sampler = _sampler(graph, node_id, name)
    if sampler is None:
        return None
    noise = followed(graph, sampler.node, "noise") or sampler
    values = noise.node.get("inputs", {})
    seed = next((constant(graph, values[each], int) for each in SEEDS if each in values), None)
    return seed if seed is not None and 0 <= seed < 2**64 else None


def constant(graph: Graph, value: Any, kind: type) -> Any:
    """A value of an input, or the one value of the node that it is wired to; None for what is computed."""
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    found = linked(graph, value)
    if found is None:
        return None
    inputs = found.node.get("inputs", {})
    if found.kind == "StringConcatenate" and kind is str:
        parts = [constant(graph, inputs.get(each), str) for each in ("string_a", "delimiter", "string_b")]
        return None if None in parts else parts[0] + parts[1] + parts[2]
    known = [inputs[each] for each in CONSTANTS if each in inputs]
    is_constant = len(inputs) == 1 or found.kind.startswith("Primitive")
    return known[0] if is_constant and known and isinstance(known[0], kind) else None


def _sampler(graph: Graph, node_id: str | None, name: str) -> Found | None:
    """The nearest node behind the latents that has a seed and a prompt, whichever pack it is of."""
    found = followed(graph, node_of(graph, node_id), name)
    for _ in graph:
        if found is None:
            return None
        inputs = found.node.get("inputs", {})
        if {"noise", *SEEDS} & inputs.keys() and {"guider", *CONDITIONINGS} & inputs.keys():
            return found
        found = followed(graph, found.node, *LATENT_INPUTS)
    return None


def _conditioned(graph: Graph, found: Found | None) -> Iterator[str]:
    """The texts behind a conditioning, nearest first."""
    waiting, seen = [found], set()
    while waiting:
        found = waiting.pop(0)
        if found is None or found.kind == "ConditioningZeroOut" or (found.id, found.slot) in seen:
            continue
        seen.add((found.id, found.slot))
        inputs = found.node.get("inputs", {})
        if texts := [inputs[name] for name in TEXTS if name in inputs]:
            yield from (text for value in texts if (text := constant(graph, value, str)))
        elif {"positive", "negative"} <= inputs.keys():
            waiting.append(followed(graph, found.node, "negative" if found.slot == 1 else "positive"))
        else:
            waiting += [linked(graph, value) for name, value in inputs.items() if name.startswith(("cond", "positive"))]


def _joined(texts: Iterator[str]) -> str | None:
    return "\n".join(dict.fromkeys(texts)) or None
