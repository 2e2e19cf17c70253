"""ComfyUI's sampling as a ``Guidance`` sees it: the only module that touches the host's sampling internals.

A guided MODEL is a clone that carries links in its options, one for every node of ours that it went through. For each
sampling run an outer-sample wrapper opens fresh guidances, which then live in that run's own copy of the options and
nowhere else: the same MODEL may be sampled many times, by several samplers, and an interrupt leaves nothing behind.
The work is done in post-CFG functions, in wiring order with those of other packs.

Nothing here keeps a model, and what a MODEL keeps is functions only: older hosts deep-copy a MODEL's options whenever
it is cloned, which copies every other object and leaves functions alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ...guidance.base import Guidance, SamplingRun, SamplingStep
from ...guidance.limits import SigmaInterval
from ...guidance.trace import Trace
from .latents import identities
from .schedule import Schedule

KEY = "diversity_guidance"
LINKS = f"{KEY}_links"
RUN = f"{KEY}_run"

PercentToSigma = Callable[[float], float]
"""Share of the model's schedule, 0 for its start and 1 for its end, to the noise level there."""

MakeGuidance = Callable[[PercentToSigma], Guidance]
"""Makes the guidance of one run; told the schedule of the model as it is finally wired."""

Report = Callable[[Trace, Tensor, str], None]
"""Told, after a run, what happened, the final raw latents and the name of their format."""

OUTER_SAMPLE = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask", "callback", "disable_pbar", "seed")
PREDICT_NOISE = ("x", "timestep", "model_options", "seed")


_noisy: deque[str] = deque(maxlen=1024)
"""Identities of the last results with leftover noise: a LATENT itself does not tell."""


class _Link(NamedTuple):
    make: MakeGuidance
    report: Report


def guided(model: Any, make: MakeGuidance, report: Report) -> Any:
    """Clone a MODEL so that every run of it is steered by a guidance of its own.

    Args:
        model: a MODEL, guided already or not; it stays as it is.
        make: makes the guidance of a run. A plain function, and what it encloses is never changed.
        report: called after every run that was not interrupted. A plain function too.

    Returns:
        The guided MODEL.
    """
    patched = model.clone()
    links = patched.model_options["transformer_options"].setdefault(LINKS, [])
    position = len(links)
    links.append(_Link(make, report))

    def steer(args: dict[str, Any]) -> Tensor:
        run = args["model_options"]["transformer_options"].get(RUN)
        return args["denoised"] if run is None else run.after_cfg(position, args)

    patched.set_model_sampler_post_cfg_function(steer)
    if position == 0:
        wrappers = comfy.patcher_extension.WrappersMP
        patched.add_wrapper_with_key(wrappers.OUTER_SAMPLE, KEY, _sample)
        patched.add_wrapper_with_key(wrappers.PREDICT_NOISE, KEY, _predict)
    return patched


def guidances_of_run(model_options: dict[str, Any]) -> tuple[Guidance, ...]:
    """The guidances of the sampling run whose options these are, in wiring order; none outside a run."""
    run = model_options["transformer_options"].get(RUN)
    return () if run is None else run.guidances


def unguided(model: Any) -> Any:
    """Clone a MODEL so that nothing of ours acts in its runs."""
    plain = model.clone()
    wrappers = comfy.patcher_extension.WrappersMP
    for kind in (wrappers.OUTER_SAMPLE, wrappers.PREDICT_NOISE):
        plain.remove_wrappers_with_key(kind, KEY)
    return plain


def latent_format_name(model: Any) -> str:
    """Name of the latent format that a MODEL works on, such as "SD3"."""
    return type(model.model.latent_format).__name__


def to_model_space(model: Any) -> Callable[[Tensor], Tensor]:
    """The map from raw latents (B, C, ...) to those that a MODEL works on."""
    return model.model.latent_format.process_in


def latent_channels(model: Any) -> int:
    """Number of channels of a MODEL's latents."""
    return int(model.model.latent_format.latent_channels)


def is_known_to_be_noisy(latents: Tensor, latent_format: str) -> bool:
    """Whether any of these raw latents (B, C, ...) came out of a guided MODEL with leftover noise."""
    return not set(identities(latents, latent_format)).isdisjoint(_noisy)


def sigma_interval(percent_to_sigma: PercentToSigma, start_percent: float, end_percent: float) -> SigmaInterval:
    """The noise levels between two places of a model's schedule, as the host's own nodes count them."""
    return SigmaInterval(high=percent_to_sigma(start_percent), low=percent_to_sigma(end_percent))


class _ActiveRun:
    """One sampling run: its guidances, and what they are told.

    Args:
        guider: the host's guider, which is not kept.
        given: the arguments of its outer_sample, by name.
    """

    def __init__(self, guider: Any, given: dict[str, Any]) -> None:
        patcher, noise, sigmas = guider.model_patcher, given["noise"], given["sigmas"]
        self._links: list[_Link] = guider.model_options["transformer_options"][LINKS]
        percent_to_sigma = patcher.get_model_object("model_sampling").percent_to_sigma
        self._guidances = [link.make(percent_to_sigma) for link in self._links]
        self._latent_format = patcher.model.latent_format
        self._schedule = Schedule(tuple(sigmas.float().tolist()))
        self._run = SamplingRun(
            batch_size=noise.shape[0],
            latent_shape=tuple(noise.shape[1:]),
            sigmas=sigmas.float().cpu(),
            device=torch.device(patcher.load_device),
            latent_format=type(self._latent_format).__name__,
            seed=int(given.get("seed") or 0),
            to_model_space=self._latent_format.process_in,
        )
        self._mask = _mask_like(noise, given.get("denoise_mask"), self._run.device)
        self._conditional: Tensor | None = None
        self._positive: Any = None
        # Guiders that go on after CFG, such as the dual one, are steered on what they finally predict; those that
        # replace the call itself have no such place.
        kind, plain = type(guider), comfy.samplers.CFGGuider
        self.goes_on_after_cfg = kind.predict_noise is not plain.predict_noise and kind.__call__ is plain.__call__
        self._stopped = False
        if len(given.get("latent_shapes") or ()) > 1:
            self._stop("Nothing was steered: the latents of this model are several tensors packed into one.")
        elif self._schedule.levels[0] < self._schedule.levels[-1]:
            self._stop("Nothing was steered: this run adds noise instead of removing it.")
        else:
            for guidance in self._guidances:
                guidance.begin(self._run)

    @property
    def guidances(self) -> tuple[Guidance, ...]:
        """The guidances of all links, in their order; none where nothing is to be steered."""
        return () if self._stopped else tuple(self._guidances)

    def after_cfg(self, position: int, args: dict[str, Any]) -> Tensor:
        """Steer the estimate with the guidance of one link, or only note the conditional estimate for later."""
        denoised: Tensor = args["denoised"]
        if self.goes_on_after_cfg:
            # What the middle prompt of a dual guider predicts says nothing of the picture.
            self._conditional = args["cond_denoised"] if args["cond"] is self._positive else None
            return denoised
        if position == 0:
            self._conditional = denoised if args["uncond"] is None else args["cond_denoised"]
        return self._steered(self._guidances[position : position + 1], denoised, args["sigma"], args["input"])

    def await_prediction(self, positive: Any) -> None:
        """Remember by which conditioning the estimate of the prompt alone will be known."""
        self._conditional, self._positive = None, positive

    def after_prediction(self, denoised: Tensor, sigma: Tensor, noisy: Tensor) -> Tensor:
        """Steer a guider's final estimate with the guidances of all links."""
        if self._conditional is None:
            self._conditional = denoised
        return self._steered(self._guidances, denoised, sigma, noisy)

    def close(self, samples: Tensor) -> Tensor:
        """Let the guidances finish the final raw latents, and report."""
        if not self._stopped and not self._schedule.ends_clean:
            self._note("This run left noise in its result, which was therefore not corrected at the end.")
            self._stopped = True
            _noisy.extend(identities(samples, self._run.latent_format))
        if not self._stopped:
            samples = self._finished(samples)
        for link, guidance in zip(self._links, self._guidances, strict=True):
            link.report(guidance.trace, samples, self._run.latent_format)
        return samples

    def _finished(self, samples: Tensor) -> Tensor:
        before = after = self._run.to_model_space(samples.to(self._run.device))
        for guidance in self._guidances:
            after = guidance.finish(after)
        if after is before:
            return samples
        # The difference, so that whatever was not moved stays bit for bit.
        to_raw = self._latent_format.process_out
        return samples + (to_raw(after) - to_raw(before)).to(samples)

    def _steered(self, guidances: list[Guidance], denoised: Tensor, sigma: Tensor, noisy: Tensor) -> Tensor:
        if self._stopped:
            return denoised
        expected = (self._run.batch_size, *self._run.latent_shape)
        if tuple(denoised.shape) != expected:
            self._stop(f"Steering stopped: the model answered with shape {tuple(denoised.shape)} to {expected}.")
            return denoised
        level = float(sigma.max())
        next_level, progress = self._schedule.place(level)
        conditional = denoised if self._conditional is None else self._conditional
        step = SamplingStep(level, next_level, progress, noisy, conditional, self._mask)
        for guidance in guidances:
            steered = guidance(denoised, step)
            step = step.following(denoised, steered)
            denoised = steered
        self._conditional = step.conditional
        return denoised

    def _stop(self, note: str) -> None:
        self._stopped = True
        self._note(note)

    def _note(self, note: str) -> None:
        for guidance in self._guidances:
            guidance.trace.notes.append(note)


def _sample(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Outer-sample wrapper: open the run, and leave nothing of it behind, whatever happens."""
    guider = executor.class_obj
    run = _ActiveRun(guider, dict(zip(OUTER_SAMPLE, args, strict=False)) | kwargs)
    options = guider.model_options["transformer_options"]
    options[RUN] = run
    try:
        return run.close(executor(*args, **kwargs))
    finally:
        del options[RUN]


def _predict(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Predict-noise wrapper: steer guiders that go on after CFG."""
    guider = executor.class_obj
    run = guider.model_options["transformer_options"].get(RUN)
    if run is None or not run.goes_on_after_cfg:
        return executor(*args, **kwargs)
    run.await_prediction(guider.conds.get("positive"))
    denoised = executor(*args, **kwargs)
    given = dict(zip(PREDICT_NOISE, args, strict=False)) | kwargs
    return run.after_prediction(denoised, given["timestep"], given["x"])


def _mask_like(noise: Tensor, mask: Tensor | None, device: torch.device) -> Tensor | None:
    """The inpainting mask in the latents' shape; newer hosts have shaped it already."""
    if mask is None or mask.shape == noise.shape:
        return None if mask is None else mask.to(device)
    return comfy.sampler_helpers.prepare_mask(mask, noise.shape, device)
