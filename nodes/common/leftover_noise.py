"""Whether the prompt, a graph in the API format, tells that latents still hold noise."""

from __future__ import annotations

from typing import Any

from ...guidance.schedule import CLEAN
from .prompt_graph import Found, Graph, followed, node_of
from .sampled_with import constant

SAME_LATENTS = {
    "DiversityRemember": "samples",
    "DiversityPick": "samples",
    "LatentFromBatch": "samples",
    "RepeatLatentBatch": "samples",
    "SetLatentNoiseMask": "samples",
}
"""Nodes whose first output holds latents of one of their inputs, unchanged."""

SAME_SCHEDULE_END = ("SetFirstSigma", "ExtendIntermediateSigmas")
ELSEWHERE = "Save the result of the sampler that finishes them"


def leftover_noise(graph: Graph, node_id: str | None, name: str) -> str | None:
    """Why a node's latents still hold noise, as two sentences without a subject; "" if they surely hold none.

    Args:
        graph: the prompt of the run.
        node_id: the node.
        name: of its input.

    Returns:
        None where the graph does not tell.
    """
    found = followed(graph, node_of(graph, node_id), name)
    for _ in graph:
        passed = None if found is None else SAME_LATENTS.get(found.kind)
        if found is None or passed is None:
            break
        found = followed(graph, found.node, passed)
    if found is None:
        return None
    if found.kind == "KSampler":
        return ""
    if found.kind == "KSamplerAdvanced":
        return _of_advanced(graph, found)
    if found.kind in ("SamplerCustom", "SamplerCustomAdvanced"):
        return "" if found.slot == 1 else _of_schedule(graph, followed(graph, found.node, "sigmas"))
    return None


def _of_advanced(graph: Graph, sampler: Found) -> str | None:
    inputs = sampler.node.get("inputs", {})
    if inputs.get("return_with_leftover_noise") == "disable":
        return ""
    end, steps = (constant(graph, inputs.get(name), int) for name in ("end_at_step", "steps"))
    if inputs.get("return_with_leftover_noise") != "enable" or end is None or steps is None:
        return None
    if end >= steps:
        return ""
    return (
        "their KSamplerAdvanced returns leftover noise before its last step. Save the result of the sampler after it, "
        "or raise end_at_step."
    )


def _of_schedule(graph: Graph, sigmas: Found | None) -> str | None:
    """What leaves a sampler that follows this schedule to its end."""
    for _ in graph:
        if sigmas is None or sigmas.kind.endswith("Scheduler"):
            return None if sigmas is None else ""
        inputs = sigmas.node.get("inputs", {})
        if sigmas.kind == "FlipSigmas":
            return f"their schedule is flipped, so that their sampler adds noise. {ELSEWHERE}."
        if sigmas.kind == "ManualSigmas":
            return _of_numbers(inputs.get("sigmas"))
        if sigmas.kind in ("SplitSigmas", "SplitSigmasDenoise") and sigmas.slot == 0:
            return _of_first_part(graph, sigmas)
        if sigmas.kind not in ("SplitSigmas", "SplitSigmasDenoise", *SAME_SCHEDULE_END):
            return None
        sigmas = followed(graph, sigmas.node, "sigmas")
    return None


def _of_first_part(graph: Graph, split: Found) -> str | None:
    inputs, whole = split.node.get("inputs", {}), followed(graph, split.node, "sigmas")
    if split.kind == "SplitSigmas":
        steps = None if whole is None else constant(graph, whole.node.get("inputs", {}).get("steps"), int)
        step = constant(graph, inputs.get("step"), int)
        if steps is None or step is None:
            return None
        if step >= steps:
            return _of_schedule(graph, whole)
    return (
        f"their sampler got only the first part of a schedule ({split.kind}). {ELSEWHERE}, or denoised_output of this "
        "one."
    )


def _of_numbers(text: Any) -> str | None:
    try:
        last = float(str(text).replace(",", " ").split()[-1])
    except (ValueError, IndexError):
        return None
    return f"their schedule ends at noise level {last:.3g}. {ELSEWHERE}." if last > CLEAN else ""
