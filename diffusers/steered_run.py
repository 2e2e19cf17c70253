"""One sampling run of a pipeline: what its guidances are given, and what they do to the model's predictions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..guidance.base import Guidance, SamplingRun, SamplingStep, no_estimate
from ..guidance.schedule import Schedule
from .families import Family
from .latent_space import LatentSpace
from .noise_levels import NoiseSchedule

logger = logging.getLogger("diversity_guidance")


@dataclass(frozen=True)
class Prepared:
    """What a pipeline has prepared for a run.

    Attributes:
        latents: initial latents in the pipeline's layout.
        grid: rows and columns of tokens, where latents are packed.
        seed: of the generator; 0 without one.
        original: latents of the image that is inpainted, in the pipeline's layout; None otherwise.
        mask: the inpainting mask in the pipeline's layout, 1 where the image may change; None for everywhere.
    """

    latents: Tensor
    grid: tuple[int, int]
    seed: int
    original: Tensor | None = None
    mask: Tensor | None = None


class SteeredRun:
    """One sampling run.

    Args:
        guidance: steers it; it begins here.
        family: of the pipeline.
        space: of its latents.
        schedule: of its scheduler.
        first: place of the run's first evaluation in the schedule.
        prepared: by the pipeline.
        evaluate_empty: evaluates the denoiser as last time, but without the prompt; None where there is no such prompt.

    Raises:
        ValueError: the guidance's inputs do not fit the run.
    """

    def __init__(
        self,
        guidance: Guidance,
        family: Family,
        space: LatentSpace,
        schedule: NoiseSchedule,
        first: int,
        prepared: Prepared,
        evaluate_empty: Callable[[], Any] | None = None,
    ) -> None:
        self._guidance, self._family, self._space = guidance, family, space
        self._levels, self._place = schedule, first
        self._grid = prepared.grid
        latents = self._unpacked(prepared.latents)
        self._mask = None if prepared.mask is None else self._unpacked(prepared.mask[: len(latents)]).float()
        self._original = None if prepared.original is None else self._unpacked(prepared.original)
        self._evaluations: list[Any] = []
        self._evaluate_empty = evaluate_empty
        self._unguided = self._replaced = False
        self.finished: Tensor | None = None
        run = SamplingRun(
            batch_size=len(latents),
            latent_shape=tuple(latents.shape[1:]),
            sigmas=schedule.sigmas(first),
            device=latents.device,
            latent_format=space.name,
            seed=prepared.seed,
            to_model_space=space.to_model,
            encoder=space.encoder,
        )
        self._schedule = Schedule(tuple(run.sigmas.tolist()))
        guidance.begin(run)

    def replaces_prompt(self) -> bool:
        """Whether the next evaluation is to be one without the prompt, in a run known to lack CFG; it is then one."""
        sigma = self._levels.levels[self._place].sigma
        self._replaced = self._unguided and self._evaluate_empty is not None and self._guidance.replaces_prompt(sigma)
        return self._replaced

    def note_evaluation(self, output: Any) -> None:
        """Keep what the denoiser returned until the scheduler's step."""
        self._evaluations.append(output)

    def step(
        self, take_step: Callable[..., Any], output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """Take a scheduler's step with the steered prediction; the last one ends the run."""
        started = time.perf_counter()
        output = self._steered(output, sample)
        self._guidance.host_trace.seconds += time.perf_counter() - started
        self._evaluations.clear()
        self._place += 1
        result = take_step(output, timestep, sample, *args, **kwargs)
        if self._place < len(self._levels.levels):
            return result
        if isinstance(result, tuple):
            return (self._final(result[0]), *result[1:])
        result.prev_sample = self._final(result.prev_sample)
        return result

    def abandon(self) -> None:
        """Tell that the run ended before its last step."""
        if self.finished is None:
            note = "The run ended before the last step of its schedule, so its result was not corrected."
            self._guidance.host_trace.notes.append(note)
            if self._guidance.guarantees:
                logger.warning(note)

    def _steered(self, output: Tensor, sample: Tensor) -> Tensor:
        """The prediction of the model after guidance; the very same tensor if nothing was moved."""
        level, prediction = self._levels.levels[self._place], self._levels.prediction

        def estimate(each: Tensor) -> Tensor:
            return self._unpacked(level.estimate(prediction, sample, each))

        outputs = [self._family.output(evaluation, sample) for evaluation in self._evaluations]
        prompted, empty = self._family.conditional(outputs, len(sample))
        denoised = estimate(output)
        conditional = denoised if prompted is None or empty is None else estimate(prompted)
        self._unguided = conditional is denoised
        next_level, progress = self._schedule.place(level.sigma)
        step = SamplingStep(
            level.sigma,
            next_level,
            progress,
            self._unpacked(level.seen(sample)),
            conditional,
            self._mask,
            no_estimate if empty is None else lambda: estimate(empty),
        )
        if self._unguided and self._evaluate_empty is not None:
            step = replace(step, unconditional=self._without_prompt(denoised, sample, estimate, self._evaluate_empty))
        steered = self._guidance(denoised, step)
        if steered is denoised:
            return output
        change = self._family.layout.packed((steered - denoised) * level.output_change(prediction))
        # Only the difference is added, so that what was not moved stays bit for bit.
        return output + change.to(output)

    def _without_prompt(
        self, denoised: Tensor, sample: Tensor, estimate: Callable[[Tensor], Tensor], evaluate: Callable[[], Any]
    ) -> Callable[[], Tensor]:
        """Gives the estimate without the prompt: the very same where it was evaluated, or by one more evaluation."""
        if self._replaced:
            return lambda: denoised
        return cache(lambda: estimate(self._family.output(evaluate(), sample)))

    def _final(self, sample: Tensor) -> Tensor:
        """The run's result, as the guidance leaves it."""
        level = self._levels.final
        before = self._unpacked(level.seen(sample))
        if self._original is not None and self._mask is not None:
            before = self._original.to(before) * (1 - self._mask) + before * self._mask
        after = self._guidance.finish(before)
        self.finished = self._space.to_raw(after).cpu()
        if after is before:
            return sample
        scale = 1.0 if level.flow else level.signal
        return sample + self._family.layout.packed((after - before) * scale).to(sample)

    def _unpacked(self, latents: Tensor) -> Tensor:
        return self._family.layout.unpacked(latents, self._grid)


def found_seed(generator: torch.Generator | list[torch.Generator] | None) -> int:
    """The seed of a pipeline's generator, of the first of several, or 0."""
    first = generator[0] if isinstance(generator, list) and generator else generator
    return first.initial_seed() if isinstance(first, torch.Generator) else 0
