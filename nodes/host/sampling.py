"""Guidance in ComfyUI's sampling: guided MODELs, and the wrappers that open and close their runs.

A guided MODEL is a clone with links in its options, one for each node of this pack that it went through. For each
sampling run an outer-sample wrapper makes fresh guidances, which are kept in that run's copy of the options and nowhere
else: the same MODEL can be sampled many times, by several samplers, and an interrupt leaves nothing behind. Post-CFG
functions do the work, in wiring order with those of other packs.

No model is kept here, and a MODEL keeps only functions: older hosts deep-copy a MODEL's options whenever they clone it,
which copies all other objects but not functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.patcher_extension
from torch import Tensor

from ...guidance.containment import Contained
from ...guidance.limits import SigmaInterval
from .active_run import ActiveRun, Link, MakeGuidance, PercentToSigma, Report
from .messages import logger
from .networks.embedded_model import format_of

KEY = "diversity_guidance"
LINKS = f"{KEY}_links"
RUN = f"{KEY}_run"
WARNED = f"{KEY}_warned"

OUTER_SAMPLE = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask", "callback", "disable_pbar", "seed")
PREDICT_NOISE = ("x", "timestep", "model_options", "seed")
APPLY_MODEL = ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")

WITHOUT_WRAPPERS = (
    "A sampler or guider of another pack does not call this model's wrappers as ComfyUI's own do, so nothing is "
    "steered. Use KSampler, or SamplerCustomAdvanced with ComfyUI's CFGGuider."
)


def guided(
    model: Any,
    make: MakeGuidance,
    report: Report,
    *,
    warn: Callable[[str], None] = logger.warning,
    protects: bool = False,
) -> Any:
    """Clone a MODEL so that each of its runs is steered by a new guidance.

    Args:
        model: a MODEL, guided already or not; it stays as it is.
        make: makes the guidance of a run. A plain function, whose closure never changes.
        report: called after every run that was not interrupted. A plain function too.
        warn: shows a sentence about a run that could not be opened. A plain function too.
        protects: whether a run that cannot be steered is an error.

    Returns:
        The guided MODEL.
    """
    patched = clone_of(model)
    links = patched.model_options["transformer_options"].setdefault(LINKS, [])
    position = len(links)

    def steer(args: dict[str, Any]) -> Tensor:
        options = args["model_options"].get("transformer_options", {})
        run = _run_of(options)
        if run is not None:
            return run.after_cfg(position, args)
        _tell_of_skipped_wrappers(options, position, warn, protects)
        return args["denoised"]

    links.append(Link(make, report, warn, steer, protects))
    patched.set_model_sampler_post_cfg_function(steer)
    if position == 0:
        wrappers = comfy.patcher_extension.WrappersMP
        patched.add_wrapper_with_key(wrappers.OUTER_SAMPLE, KEY, _sample)
        patched.add_wrapper_with_key(wrappers.PREDICT_NOISE, KEY, _predict)
        patched.add_wrapper_with_key(wrappers.APPLY_MODEL, KEY, _apply)
    return patched


def clone_of(model: Any) -> Any:
    """Clone a MODEL as a child of its loader's MODEL.

    When a MODEL is garbage-collected, the host goes on with its parent. After an error a whole chain of clones is
    collected, and the host would lose track of a network in use ("memory leak" in its log, and a full collection each
    time).
    """
    clone = model.clone()
    if getattr(model, "parent", None) is not None:
        clone.parent = model.parent
    return clone


def guidances_of_run(model_options: dict[str, Any]) -> tuple[Contained, ...]:
    """The guidances of the sampling run with these options, in wiring order; none outside of a run."""
    run = _run_of(model_options["transformer_options"])
    return () if run is None else run.guidances


def unguided(model: Any) -> Any:
    """Clone a MODEL without the guidance of this pack."""
    plain = clone_of(model)
    steering = [link.steer for link in plain.model_options["transformer_options"].pop(LINKS, ())]
    if steering:
        functions = plain.model_options["sampler_post_cfg_function"]
        plain.model_options["sampler_post_cfg_function"] = [each for each in functions if each not in steering]
    wrappers = comfy.patcher_extension.WrappersMP
    for kind in (wrappers.OUTER_SAMPLE, wrappers.PREDICT_NOISE, wrappers.APPLY_MODEL):
        plain.remove_wrappers_with_key(kind, KEY)
    return plain


def latent_format_name(model: Any) -> str:
    """Name of a MODEL's latent format, such as "SD3"."""
    return format_of(model)


def to_model_space(model: Any) -> Callable[[Tensor], Tensor]:
    """The map from raw latents (B, C, ...) to a MODEL's own space."""
    return model.model.latent_format.process_in


def latent_channels(model: Any) -> int:
    """Number of channels of a MODEL's latents."""
    return int(model.model.latent_format.latent_channels)


def sigma_interval(percent_to_sigma: PercentToSigma, start_percent: float, end_percent: float) -> SigmaInterval:
    """The noise levels between two places in a model's schedule, counted as in the host's nodes."""
    return SigmaInterval(high=percent_to_sigma(start_percent), low=percent_to_sigma(end_percent))


class _Opened:
    """Holds a run in the options until it ends."""

    # A run keeps a copy of these options. Held directly, it would keep itself and the model until a full collection.

    def __init__(self, run: ActiveRun) -> None:
        self.run: ActiveRun | None = run


def _run_of(transformer_options: dict[str, Any]) -> ActiveRun | None:
    """The run whose options these are; None outside a run."""
    opened = transformer_options.get(RUN)
    return None if opened is None else opened.run


def _sample(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Outer-sample wrapper: open the run, and always close it."""
    guider = executor.class_obj
    given = dict(zip(OUTER_SAMPLE, args, strict=False)) | kwargs
    options = guider.model_options["transformer_options"]
    run = ActiveRun(guider, given, options[LINKS])
    options[RUN] = opened = _Opened(run)
    callback = run.callback(given.get("callback"))
    place = OUTER_SAMPLE.index("callback")
    if len(args) > place:
        args = (*args[:place], callback, *args[place + 1 :])
    else:
        kwargs = {**kwargs, "callback": callback}
    try:
        return run.close(executor(*args, **kwargs))
    finally:
        opened.run = None
        del options[RUN]


def _predict(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Predict-noise wrapper: choose the conditionings, and steer guiders that compute on after CFG."""
    guider = executor.class_obj
    run = _run_of(guider.model_options["transformer_options"])
    if run is None:
        return executor(*args, **kwargs)
    given = dict(zip(PREDICT_NOISE, args, strict=False)) | kwargs
    conds = guider.conds
    guider.conds = run.await_prediction(guider, float(given["timestep"].max()))
    try:
        denoised = executor(*args, **kwargs)
    finally:
        guider.conds = conds
    return run.after_prediction(denoised, given["timestep"], given["x"]) if run.goes_on_after_cfg else denoised


def _apply(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply-model wrapper: note that the run evaluates the model."""
    given = dict(zip(APPLY_MODEL, args, strict=False)) | kwargs
    run = _run_of(given.get("transformer_options") or {})
    if run is not None:
        run.evaluated = True
    return executor(*args, **kwargs)


def _tell_of_skipped_wrappers(
    options: dict[str, Any], position: int, warn: Callable[[str], None], protects: bool
) -> None:
    """Warn once per run that its outer-sample wrapper was not called; an error where images are protected."""
    sigmas = options.get("sample_sigmas")
    if protects and sigmas is not None and float(sigmas[0]) > float(sigmas[-1]):
        raise ValueError(f"Nothing would be protected in this run. {WITHOUT_WRAPPERS}")
    told = options.setdefault(WARNED, set())
    if position not in told:
        told.add(position)
        warn(WITHOUT_WRAPPERS)
