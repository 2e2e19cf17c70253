"""One sampling run of the host: what its guidances are given, and what they do to its estimates and results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ...guidance.activations.trace import ActivationTrace
from ...guidance.base import Chain, Guidance, SamplingRun, SamplingStep, no_estimate, shape_text
from ...guidance.containment import Contained
from ...guidance.schedule import Schedule
from ...guidance.trace import Trace
from .latents import remember_noise_left
from .messages import logger
from .networks.embedded_model import format_of

PercentToSigma = Callable[[float], float]
"""A place in the model's schedule, from 0 at its start to 1 at its end, to its noise level."""

MakeGuidance = Callable[[PercentToSigma], Guidance]
"""Makes the guidance of one run, given the schedule of the model that the run samples."""

Report = Callable[[Trace, Tensor, str], None]
"""Called after a run with its trace, the final raw latents and the name of their format."""

INTERRUPTS = (comfy.model_management.InterruptProcessingException,)

WITHOUT_CFG = (
    "the guider of this run makes its own predictions and skips what models add after CFG, so none of its steps can be "
    "steered. Use ComfyUI's CFGGuider or BasicGuider"
)


class Link(NamedTuple):
    """One node of this pack that a MODEL went through; plain functions only (see ``sampling``).

    Attributes:
        make: makes the guidance of a run.
        report: called after every run that was not interrupted.
        warn: shows a sentence about a run that has no trace.
        steer: the post-CFG function.
        protects: whether a run that cannot be steered is an error.
    """

    make: MakeGuidance
    report: Report
    warn: Callable[[str], None]
    steer: Callable[[dict[str, Any]], Tensor]
    protects: bool


class ActiveRun:
    """One sampling run and its guidances.

    Args:
        guider: the host's guider, which is not kept.
        given: the arguments of its outer_sample, by name.
        links: of the guided MODEL.

    Raises:
        ValueError: the inputs of a guidance do not fit the run.
    """

    def __init__(self, guider: Any, given: dict[str, Any], links: Sequence[Link]) -> None:
        patcher, noise, sigmas = guider.model_patcher, given["noise"], given["sigmas"]
        self._links = tuple(links)
        percent_to_sigma = patcher.get_model_object("model_sampling").percent_to_sigma
        free = comfy.model_management.soft_empty_cache
        self._chain = Chain([Contained(link.make(percent_to_sigma), INTERRUPTS, free) for link in self._links])
        self._latent_format = patcher.model.latent_format
        self._schedule = Schedule(tuple(sigmas.float().tolist()))
        self._run = SamplingRun(
            batch_size=noise.shape[0],
            latent_shape=tuple(noise.shape[1:]),
            sigmas=sigmas.float().cpu(),
            device=torch.device(patcher.load_device),
            latent_format=format_of(patcher),
            seed=int(given.get("seed") or 0),
            to_model_space=self._latent_format.process_in,
        )
        self._mask = _mask_like(noise, given.get("denoise_mask"), self._run.device)
        self._conditional: Tensor | None = None
        self._positive: Any = None
        self._negative: Any = None
        self._unconditional: Callable[[], Tensor | None] = no_estimate
        # Guiders that compute on after CFG, such as the dual one, are steered at their final prediction; those that
        # replace the call itself have none.
        kind, plain = type(guider), comfy.samplers.CFGGuider
        self.goes_on_after_cfg = kind.predict_noise is not plain.predict_noise and kind.__call__ is plain.__call__
        self.evaluated = False
        self._steerable = False
        self._stopped = False
        self._last_estimate: _LastEstimate | None = None
        if len(given.get("latent_shapes") or ()) > 1:
            self._stop("Nothing was steered: this model packs several latents into one.")
        elif self._schedule.levels[0] < self._schedule.levels[-1]:
            self._stop("Nothing was steered: this run adds noise instead of removing it.", harmless=True)
        else:
            self._chain.begin(self._run)

    @property
    def guidances(self) -> tuple[Contained, ...]:
        """The guidances of all links, in order; none if the run is not steered."""
        return () if self._stopped else tuple(link for link in self._chain.guidances if isinstance(link, Contained))

    def callback(self, given: Callable[..., None] | None) -> Callable[..., None] | None:
        """The callback for the sampler, in place of the given one."""
        if given is None or self._stopped or not self._chain.guarantees:
            return given
        self._last_estimate = _LastEstimate(given)
        return self._last_estimate

    def after_cfg(self, position: int, args: dict[str, Any]) -> Tensor:
        """Steer the estimate with the guidance of one link, or only keep the conditional estimate for later."""
        denoised: Tensor = args["denoised"]
        self._steerable = True
        if self.goes_on_after_cfg:
            # The middle prompt of a dual guider does not predict the image.
            self._conditional = args["cond_denoised"] if args["cond"] is self._positive else None
            return denoised
        if position == 0:
            self._conditional = denoised if args["uncond"] is None else args["cond_denoised"]
            self._unconditional = self._estimate_without_prompt(args)
        return self._steered(slice(position, position + 1), denoised, args["sigma"], args["input"])

    def await_prediction(self, guider: Any, sigma: float) -> dict[str, Any]:
        """Note a guider's conditionings before it predicts.

        Returns:
            The conditionings to predict with. Without classifier-free guidance, and where a method replaces the
            estimate of the prompt anyway, the negative one stands for both.
        """
        conds = guider.conds
        self._conditional, self._positive, self._negative = None, conds.get("positive"), conds.get("negative")
        self._unconditional = no_estimate
        plain = type(guider).predict_noise is comfy.samplers.CFGGuider.predict_noise
        unguided = plain and math.isclose(guider.cfg, 1.0)
        if self._stopped or not unguided or self._negative is None or not self._chain.replaces_prompt(sigma):
            return conds
        return conds | {"positive": self._negative}

    def _estimate_without_prompt(self, args: dict[str, Any]) -> Callable[[], Tensor | None]:
        """Gives the estimate of the negative prompt: known, or by one more evaluation of the model."""
        if args["uncond"] is not None:
            return lambda: args["uncond_denoised"]
        if args["cond"] is self._negative:
            return lambda: args["cond_denoised"]
        if self._negative is None:
            return no_estimate
        # Second, where hooks on the layers expect the negative prompt.
        asked = args["model"], [None, self._negative], args["input"], args["sigma"], args["model_options"]
        return cache(lambda: comfy.samplers.calc_cond_batch(*asked)[1])

    def after_prediction(self, denoised: Tensor, sigma: Tensor, noisy: Tensor) -> Tensor:
        """Steer a guider's final estimate with the guidances of all links."""
        self._steerable = True
        if self._conditional is None:
            self._conditional = denoised
        return self._steered(slice(None), denoised, sigma, noisy)

    def close(self, samples: Tensor) -> Tensor:
        """Let the guidances finish the final raw latents, and report.

        Raises:
            ValueError: images are protected, and no step of the run could be steered.
        """
        if self.evaluated and not self._steerable and not self._stopped:
            self._refuse_if_protected(f"It failed because {WITHOUT_CFG}.")
            for guidance in self._chain.guidances:
                guidance.host_trace.inactive = WITHOUT_CFG
        if not self._stopped and not self._schedule.ends_clean:
            self._leave_noise(samples)
        elif not self._stopped:
            samples = self._finished(samples)
        if self._last_estimate is not None:
            self._last_estimate.release(self._corrected_estimate)
        for link, guidance in zip(self._links, self._chain.guidances, strict=True):
            try:
                link.report(guidance.trace, samples, self._run.latent_format)
            except Exception:
                logger.exception("The trace of a run could not be shown.")
        return samples

    def _leave_noise(self, samples: Tensor) -> None:
        """Say that raw latents leave the run with noise, and as they are."""
        level = self._schedule.levels[-1]
        estimate = "" if self._last_estimate is None else "; its last estimate (denoised_output) was"
        self._note(
            f"This run left noise of level {level:.3g} in its result, so the result was not corrected at the "
            f"end{estimate}."
        )
        remember_noise_left(samples, self._run.latent_format, level)

    def _finished(self, samples: Tensor) -> Tensor:
        """The final raw latents after the guidances; ValueError if protected images are of another size."""
        if (last := self._schedule.levels[-1]) > 0:
            self._note(f"This run ended at noise level {last:.3g}, which counts as clean.")
        if tuple(samples.shape) != (self._run.batch_size, *self._run.latent_shape):
            self._change_size(samples)
            if self._stopped:
                return samples
        before = self._run.to_model_space(samples.to(self._run.device))
        after = self._chain.finish(before)
        if after is before:
            return samples
        # Add the difference, so that what was not moved stays bit-identical.
        to_raw = self._latent_format.process_out
        return samples + (to_raw(after) - to_raw(before)).to(samples)

    def _corrected_estimate(self, estimate: Tensor) -> Tensor:
        """Correct the sampler's last estimate, (B, C, ...) in the model's space, which some nodes output too."""
        if self._stopped or tuple(estimate.shape) != (self._run.batch_size, *self._run.latent_shape):
            return estimate
        return self._chain.corrected(estimate)

    def _steered(self, links: slice, denoised: Tensor, sigma: Tensor, noisy: Tensor) -> Tensor:
        if self._stopped:
            return denoised
        if tuple(denoised.shape) != (self._run.batch_size, *self._run.latent_shape):
            self._change_size(denoised)
            if self._stopped:
                return denoised
        level = float(sigma.max())
        next_level, progress = self._schedule.place(level)
        conditional = denoised if self._conditional is None else self._conditional
        step = SamplingStep(level, next_level, progress, noisy, conditional, self._mask, self._unconditional)
        denoised, step = self._chain.through(denoised, step, links)
        self._conditional = step.conditional
        return denoised

    def _change_size(self, latents: Tensor) -> None:
        """Begin again for latents of another size: some samplers enlarge them during the run."""
        size = f"{shape_text(self._run.latent_shape)} to {shape_text(latents.shape[1:])}"
        if latents.ndim != 1 + len(self._run.latent_shape) or self._mask is not None:
            self._stop(f"Steering stopped when the size of the latents changed from {size}.")
            return
        self._run = replace(self._run, batch_size=len(latents), latent_shape=tuple(latents.shape[1:]))
        earlier = [guidance.trace for guidance in self._chain.guidances]
        self._chain.begin(self._run)
        for old, guidance in zip(earlier, self._chain.guidances, strict=True):
            new = guidance.host_trace
            new.steps[:0] = old.steps
            new.records[:0] = old.records
            new.notes[:0] = [*old.notes, f"The size of the latents changed from {size}, and the references with it."]
            if isinstance(old, ActivationTrace) and isinstance(new, ActivationTrace):
                new.evaluations += old.evaluations

    def _stop(self, note: str, *, harmless: bool = False) -> None:
        """Stop steering, and note why; an error where images are protected, unless stopping is harmless."""
        if not harmless:
            self._refuse_if_protected(note)
        self._stopped = True
        self._note(note)

    def _refuse_if_protected(self, why: str) -> None:
        if self._chain.protects:
            raise ValueError(f"Nothing would be protected in this run. {why}")

    def _note(self, note: str) -> None:
        for guidance in self._chain.guidances:
            guidance.host_trace.notes.append(note)


class _LastEstimate:
    """A node's callback for the sampler, which gets the last estimate only once it is corrected."""

    def __init__(self, callback: Callable[..., None]) -> None:
        self._callback = callback
        self._last: tuple[Any, ...] | None = None
        self._held = False

    def __call__(self, step: int, estimate: Tensor, *rest: Any) -> None:
        """Pass on a step, unless it seems to be the last."""
        if self._held and self._last is not None:
            # Samplers that return to higher noise repeat the number of their last step.
            self._callback(*self._last)
        self._last = (step, estimate, *rest)
        self._held = step + 1 >= rest[-1]
        if not self._held:
            self._callback(*self._last)

    def release(self, correct: Callable[[Tensor], Tensor]) -> None:
        """Pass on the last step, a second time if it has been passed on without its correction."""
        if self._last is None:
            return
        step, estimate, *rest = self._last
        corrected = correct(estimate)
        if self._held or corrected is not estimate:
            self._callback(step, corrected, *rest)
        self._last = None


def _mask_like(noise: Tensor, mask: Tensor | None, device: torch.device) -> Tensor | None:
    """The inpainting mask in the latents' shape, which newer hosts give it themselves."""
    if mask is None or mask.shape == noise.shape:
        return None if mask is None else mask.to(device)
    return comfy.sampler_helpers.prepare_mask(mask, noise.shape, device)
