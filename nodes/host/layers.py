"""Feature Guidance inside the host's sampling: hooks on the network's layers for one sampling run.

The hooks are set after the host has loaded and patched the model, and removed before it cleans up, also when a run
fails or is cancelled. A hook cannot know which rows of the network's batch belong to the prompt, since the host orders
and splits the batch by free memory; three wrappers pass that on.

Where the host splits a batch over several GPUs, clones of the network run in threads. All are hooked, and run one at a
time, since a guidance follows one pass at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from threading import RLock
from typing import Any

import comfy.patcher_extension
from torch import Tensor, nn

from ...guidance.activations.guidance import FeatureGuidance
from ...guidance.activations.hooks import LayerHooks, Visit
from ...guidance.activations.layers import COMPILED, Layer, check_readable, find_layers
from ...guidance.containment import Contained
from .sampling import APPLY_MODEL, clone_of, guidances_of_run

KEY = "diversity_guidance_features"


def with_feature_hooks(patched: Any) -> Any:
    """Let the Feature Guidances of a MODEL act inside its network; changes and returns the MODEL."""
    wrappers = comfy.patcher_extension.WrappersMP
    if not patched.get_wrappers(wrappers.SAMPLER_SAMPLE, KEY):
        patched.add_wrapper_with_key(wrappers.SAMPLER_SAMPLE, KEY, _sample)
        patched.add_wrapper_with_key(wrappers.CALC_COND_BATCH, KEY, _calculate)
        patched.add_wrapper_with_key(wrappers.APPLY_MODEL, KEY, _apply)
    return patched


def readable_network(model: Any) -> nn.Module:
    """The network of a MODEL.

    Raises:
        ValueError: its layers cannot be read, since it is compiled or its weights are elsewhere.
    """
    network: nn.Module = model.get_model_object("diffusion_model")
    _check_not_compiled(model.model_options)
    check_readable(network)
    for part in model.object_patches.values():
        if isinstance(part, nn.Module):
            check_readable(part)
    return network


def on_one_device(model: Any) -> Any:
    """Clone a MODEL without the copies on other GPUs among which the host would split a batch."""
    plain = clone_of(model)
    plain.remove_additional_models("multigpu")
    return plain


class _Passes:
    """Tells the guidances of a run which parts of the network's batch are the prompt's."""

    def __init__(self, guider: Any, guidances: Sequence[FeatureGuidance]) -> None:
        self._guider = guider
        self._guidances = guidances
        self._of_prompt: set[int] = {0}
        self.one_at_a_time = RLock()

    def batch_of(self, conditionings: Sequence[Any]) -> None:
        """Find the prompt among the conditionings of the next batch, whose order depends on the guider."""
        prompt = getattr(self._guider, "conds", {}).get("positive")
        # Context windows pass on copies, in the order of classifier-free guidance: the prompt first.
        self._of_prompt = {place for place, item in enumerate(conditionings) if item is prompt} or {0}

    def open(self, x: Tensor, sigma: float, kinds: Sequence[int]) -> None:
        """Open a pass."""
        size = len(x) // max(len(kinds), 1)
        every = [slice(at * size, (at + 1) * size) for at in range(len(kinds))]
        of_prompt = [part for part, kind in zip(every, kinds, strict=True) if kind in self._of_prompt]
        for guidance in self._guidances:
            guidance.open_pass(sigma, every if guidance.every_pass else of_prompt)

    def close(self) -> None:
        """Close the pass."""
        for guidance in self._guidances:
            guidance.close_pass()


def _sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Sampler-sample wrapper: hook the network for this run."""
    guider, extra = args[0], args[2]
    visits = {
        each.guidance: _visit_of(each, each.guidance)
        for each in guidances_of_run(guider.model_options)
        if isinstance(each.guidance, FeatureGuidance) and not each.guidance.is_off
    }
    if not visits:
        return executor(*args, **kwargs)
    _check_not_compiled(guider.model_options)
    options = extra["model_options"]
    options["transformer_options"][KEY] = _Passes(guider, list(visits))
    with ExitStack() as stack:
        for network in networks_of_run(guider, options):
            check_readable(network)
            layers = find_layers(network)
            for guidance, visit in visits.items():
                stack.enter_context(LayerHooks(layers, list(guidance.weights), visit))
        return executor(*args, **kwargs)


def networks_of_run(guider: Any, model_options: dict[str, Any]) -> list[nn.Module]:
    """The loaded network of a run, and its clones on other GPUs."""
    clones = model_options.get("multigpu_clones", {}).values()
    networks = [guider.inner_model.diffusion_model, *(clone.model.diffusion_model for clone in clones)]
    return list({id(network): network for network in networks}.values())


def _visit_of(contained: Contained, guidance: FeatureGuidance) -> Visit:
    """A guidance's action in a layer, contained: a failure leaves the activations unchanged."""

    def visit(layer: Layer, activations: Tensor) -> Tensor:
        return contained.attempt(lambda: guidance.visit(layer, activations), activations, "failed in a layer")

    return visit


def _calculate(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Calc-cond-batch wrapper: pass on the conditionings of a batch."""
    model_options = kwargs.get("model_options", args[4] if len(args) > 4 else {})
    passes = model_options.get("transformer_options", {}).get(KEY)
    if passes is not None:
        passes.batch_of(kwargs.get("conds", args[1] if len(args) > 1 else ()))
    return executor(*args, **kwargs)


def _apply(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply-model wrapper: open and close a pass."""
    given = dict(zip(APPLY_MODEL, args, strict=False)) | kwargs
    options = given.get("transformer_options") or {}
    passes = options.get(KEY)
    if passes is None:
        return executor(*args, **kwargs)
    with passes.one_at_a_time:
        passes.open(given["x"], float(given["t"].max()), options.get("cond_or_uncond", [0]))
        try:
            return executor(*args, **kwargs)
        finally:
            passes.close()


def _check_not_compiled(model_options: dict[str, Any]) -> None:
    """Refuse a MODEL that the host compiles while it samples."""
    if "torch_compile_kwargs" in model_options:
        raise ValueError(COMPILED)
