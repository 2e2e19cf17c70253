"""Contain the errors of a method, so that they do not end the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from ..kernels.shields.chunk_size import smaller_chunks
from .base import Guidance, SamplingRun, SamplingStep
from .trace import Trace

logger = logging.getLogger("diversity_guidance")

CHUNK_DIVISORS = (1, 8, 64)
"""Divisors of chunk sizes for successive attempts while memory runs out."""

Result = TypeVar("Result")


class Contained(Guidance):
    """A guidance whose errors go to its trace, while the run continues without it.

    Three kinds of errors still end the run: those in ``always_raised``, a ``ValueError`` in ``begin``, which concerns
    the user's inputs, and all errors of a guidance that protects or guarantees something.

    Args:
        guidance: the method.
        always_raised: exceptions that are not errors, such as those by which a host cancels a run.
        free_memory: called before another attempt after memory ran out.
    """

    def __init__(
        self,
        guidance: Guidance,
        always_raised: tuple[type[BaseException], ...] = (),
        free_memory: Callable[[], None] = lambda: None,
    ) -> None:
        self.guidance = guidance
        self._always_raised = always_raised
        self._free_memory = free_memory
        self._failed = False
        self._unsteered = 0

    @property
    def trace(self) -> Trace:
        """What happened in the current or last run."""
        return self.guidance.trace

    @property
    def host_trace(self) -> Trace:
        """The trace that a host writes to."""
        return self.guidance.host_trace

    @property
    def protects(self) -> bool:
        """Whether the guidance protects something."""
        return self.guidance.protects

    @property
    def guarantees(self) -> bool:
        """Whether the guidance guarantees something of the final latents."""
        return self.guidance.guarantees

    def begin(self, run: SamplingRun) -> None:
        """Begin the guidance.

        Raises:
            ValueError: the method's inputs do not fit the run.
        """
        self._failed, self._unsteered = False, 0
        try:
            self._with_little_memory(lambda: self.guidance.begin(run))
        except (ValueError, *self._always_raised):
            raise
        except Exception as error:
            if self.protects or self.guarantees:
                raise
            self._give_up("could not begin", error)

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        """The steered estimate; the very same tensor if the guidance failed."""
        if self._failed:
            return denoised
        try:
            return self._with_little_memory(lambda: self.guidance(denoised, step))
        except self._always_raised:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                self._unsteered += 1
            else:
                self._give_up(f"failed at noise level {step.sigma:.3g}", error)
            return denoised

    def attempt(self, action: Callable[[], Result], otherwise: Result, what: str) -> Result:
        """Run what the guidance does outside of a step, such as in a layer of the network.

        Args:
            action: to run.
            otherwise: the result if the guidance has failed.
            what: describes a failure in a sentence, such as "failed in a layer".
        """
        if self._failed:
            return otherwise
        try:
            with self._timed():
                return action()
        except self._always_raised:
            raise
        except Exception as error:
            self._give_up(what, error)
            return otherwise

    def replaces_prompt(self, sigma: float) -> bool:
        """Whether the guidance replaces the prompt's estimate."""
        return not self._failed and self.guidance.replaces_prompt(sigma)

    def finish(self, samples: Tensor) -> Tensor:
        """The final latents; the very same tensor if the guidance failed and guarantees nothing."""
        if self._unsteered:
            self.host_trace.notes.append(f"Memory ran out in {self._unsteered} evaluations, so they were not steered.")
        return self._final(self.guidance.finish, samples)

    def corrected(self, samples: Tensor) -> Tensor:
        """Further results of the run; the very same tensor if the guidance failed and guarantees nothing."""
        return self._final(self.guidance.corrected, samples)

    def _final(self, correct: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
        try:
            return self._with_little_memory(lambda: correct(samples))
        except self._always_raised:
            raise
        except Exception as error:
            if self.guarantees:
                raise
            self._give_up("could not finish its record", error)
            return samples

    def _with_little_memory(self, action: Callable[[], Result]) -> Result:
        """Try again with smaller chunks while memory runs out."""
        for divisor in CHUNK_DIVISORS[:-1]:
            try:
                with smaller_chunks(divisor), self._timed():
                    return action()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._free_memory()
        with smaller_chunks(CHUNK_DIVISORS[-1]), self._timed():
            return action()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.host_trace.seconds += time.perf_counter() - start

    def _give_up(self, what: str, error: Exception) -> None:
        self._failed = self.host_trace.failed = True
        logger.error("Guidance %s: the run goes on without it.", what, exc_info=error)
        reason = str(error).strip().splitlines()
        told = type(error).__name__ + (f": {reason[0]}" if reason else "")
        self.host_trace.notes.append(f"This node {what} ({told}). The run went on without it.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or in the process."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
