"""A guidance that keeps what a host tells another one, and what that one answers; used in ComfyUI's process too."""

from __future__ import annotations

from diversity_guidance.guidance.base import Guidance, SamplingRun, SamplingStep
from diversity_guidance.guidance.trace import Trace
from torch import Tensor


class Recording(Guidance):
    """Passes everything on to a guidance, if there is one, and records it.

    Args:
        guidance: what to record.
        shift: added to every estimate.
        error: raised at the second evaluation.
        empty: whether to ask for the estimate without the prompt.
    """

    def __init__(
        self,
        guidance: Guidance | None = None,
        shift: float = 0.0,
        error: Exception | None = None,
        empty: bool = False,
    ) -> None:
        self.guidance, self.shift, self.error, self.empty = guidance, shift, error, empty
        self.empties: list[Tensor | None] = []
        self.runs: list[SamplingRun] = []
        self.steps: list[SamplingStep] = []
        self.estimates: list[Tensor] = []
        self.answers: list[Tensor] = []
        self.finals: list[Tensor] = []
        self._trace = Trace()

    def begin(self, run: SamplingRun) -> None:
        self.runs.append(run)
        if self.guidance is not None:
            self.guidance.begin(run)

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        self.steps.append(step)
        self.estimates.append(denoised)
        self.empties.append(step.unconditional() if self.empty else None)
        if self.error is not None and len(self.steps) > 1:
            raise self.error
        answer = denoised if self.guidance is None else self.guidance(denoised, step)
        answer = answer + self.shift if self.shift else answer
        self.answers.append(answer)
        return answer

    def finish(self, samples: Tensor) -> Tensor:
        self.finals.append(samples)
        return samples if self.guidance is None else self.guidance.finish(samples)

    @property
    def trace(self) -> Trace:
        return self._trace if self.guidance is None else self.guidance.trace

    @property
    def protects(self) -> bool:
        return self.guidance is not None and self.guidance.protects

    def tensors(self) -> dict[str, Tensor]:
        """What was recorded, as tensors for a file."""
        found: dict[str, Tensor] = {"sigmas": self.runs[-1].sigmas}
        kept = zip(self.steps, self.estimates, self.answers, self.empties, strict=True)
        for place, (step, estimate, answer, empty) in enumerate(kept):
            levels = (step.sigma, step.next_sigma, step.progress)
            found[f"{place}.levels"] = self.runs[-1].sigmas.new_tensor(levels)
            named = {"noisy": step.noisy, "estimate": estimate, "conditional": step.conditional, "answer": answer}
            named |= {} if empty is None else {"empty": empty}
            found |= {f"{place}.{name}": value.clone().contiguous() for name, value in named.items()}
        return found
