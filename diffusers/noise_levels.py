"""What a scheduler of diffusers knows of a sample: how much of it is signal and noise, and what the model predicts.

Guidances see what ComfyUI shows them: for models that predict the noise or v (arXiv 2202.00512) x0 + sigma noise, for
flows (arXiv 2210.02747) (1 - sigma) x0 + sigma noise, each with its sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MIN_SIGNAL_SQUARED = 4.8973451890853435e-08
"""ComfyUI's stand-in for schedules that begin without any signal (arXiv 2305.08891)."""

FLOW = "flow_prediction"
PREDICTIONS = ("epsilon", "v_prediction", "sample", FLOW)


@dataclass(frozen=True)
class NoiseLevel:
    """One level of a schedule: a scheduler's sample is ``signal`` x0 + ``noise`` times Gaussian noise.

    Attributes:
        signal: factor of x0.
        noise: factor of the noise.
        flow: whether the model is a flow.
    """

    signal: float
    noise: float
    flow: bool = False

    @property
    def sigma(self) -> float:
        """The level as guidances and ComfyUI count it, as precise as float32."""
        return torch.tensor(self.noise if self.flow else self.noise / self.signal).item()

    def seen(self, sample: Tensor) -> Tensor:
        """A scheduler's sample as guidances see it, float32."""
        return sample.float() if self.flow else sample.float() / self.signal

    def estimate(self, prediction: str, sample: Tensor, output: Tensor) -> Tensor:
        """The estimate of x0 from the model's output, float32.

        Args:
            prediction: one of ``PREDICTIONS``.
            sample: the scheduler's sample.
            output: of the model, in the sample's shape.
        """
        sample, output = sample.float(), output.float()
        if prediction == "sample":
            return output
        if prediction == FLOW:
            return sample - self.noise * output
        if prediction == "epsilon":
            return (sample - self.noise * output) / self.signal
        length = math.hypot(self.signal, self.noise)
        return sample * (self.signal / length**2) - output * (self.noise / length)

    def output_change(self, prediction: str) -> float:
        """How far the model's output moves for each unit that the estimate is to move."""
        if prediction == "sample":
            return 1.0
        if prediction == FLOW:
            return -1.0 / self.noise
        if prediction == "epsilon":
            return -self.signal / self.noise
        return -math.hypot(self.signal, self.noise) / self.noise


@dataclass(frozen=True)
class NoiseSchedule:
    """The levels of a whole schedule.

    Attributes:
        levels: of each evaluation of the model, in order; repeated where a sampler evaluates twice.
        final: at the end of the last step.
        prediction: what the model predicts.
    """

    levels: tuple[NoiseLevel, ...]
    final: NoiseLevel
    prediction: str

    def sigmas(self, first: int) -> Tensor:
        """The distinct noise levels from an evaluation on, descending, shape (steps + 1,), float32."""
        every = [level.sigma for level in (*self.levels[first:], self.final)]
        return torch.tensor([sigma for place, sigma in enumerate(every) if place == 0 or sigma != every[place - 1]])


def noise_schedule(scheduler: Any) -> NoiseSchedule:
    """The schedule that is set in a scheduler.

    Raises:
        ValueError: its estimate of x0 is not known.
    """
    check_scheduler(scheduler)
    levels, final = _KINDS[type(scheduler).__name__](scheduler)
    return NoiseSchedule(tuple(levels), final, _prediction(scheduler))


def check_scheduler(scheduler: Any) -> None:
    """Check that a scheduler's estimate of x0 is known.

    Raises:
        ValueError: it is not, or the scheduler has options that do not fit together.
    """
    name, config = type(scheduler).__name__, scheduler.config
    if name not in _KINDS:
        raise ValueError(
            f"A pipeline with {name} cannot be steered, as its estimate of the finished image is not known. Replace "
            f"it, as in pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config). What works: "
            f"{', '.join(_KINDS)}."
        )
    if name == "PNDMScheduler" and not config.skip_prk_steps:
        raise ValueError("PNDMScheduler can be steered with skip_prk_steps=True only.")
    flow = _prediction(scheduler) == FLOW
    mixed = _KINDS[name] is _multistep and flow != config.get("use_flow_sigmas", False)
    if mixed or config.get("stochastic_sampling", False) or _prediction(scheduler) not in PREDICTIONS:
        raise ValueError(f"{name} cannot be steered with the prediction or the sampling that its config asks for.")


def _prediction(scheduler: Any) -> str:
    return FLOW if type(scheduler).__name__.startswith("FlowMatch") else scheduler.config.prediction_type


Found = tuple[Sequence[NoiseLevel], NoiseLevel]


def _noise_added(scheduler: Any) -> Found:
    """Samples x0 + sigma noise."""
    *levels, final = (NoiseLevel(1.0, sigma) for sigma in scheduler.sigmas.tolist())
    return levels, final


def _flow(scheduler: Any) -> Found:
    *levels, final = (NoiseLevel(1.0 - sigma, sigma, flow=True) for sigma in scheduler.sigmas.tolist())
    return levels, final


def _multistep(scheduler: Any) -> Found:
    """Samples of unit variance, or of a flow."""
    if _prediction(scheduler) == FLOW:
        return _flow(scheduler)
    *levels, final = (_unit(1 / (sigma**2 + 1)) for sigma in scheduler.sigmas.tolist())
    return levels, final


def _discrete(scheduler: Any) -> Found:
    """Samples of unit variance, by the time alone."""
    signals = scheduler.alphas_cumprod.tolist()
    levels = [_unit(signals[int(time)]) for time in scheduler.timesteps.tolist()]
    # LCM's last step gives the estimate itself.
    final = 1.0 if type(scheduler).__name__ == "LCMScheduler" else float(scheduler.final_alpha_cumprod)
    return levels, _unit(final)


def _unit(signal_squared: float) -> NoiseLevel:
    squared = max(signal_squared, MIN_SIGNAL_SQUARED)
    return NoiseLevel(math.sqrt(squared), math.sqrt(1 - squared))


_KINDS: dict[str, Callable[[Any], Found]] = {
    "EulerDiscreteScheduler": _noise_added,
    "EulerAncestralDiscreteScheduler": _noise_added,
    "HeunDiscreteScheduler": _noise_added,
    "DPMSolverMultistepScheduler": _multistep,
    "UniPCMultistepScheduler": _multistep,
    "DDIMScheduler": _discrete,
    "PNDMScheduler": _discrete,
    "LCMScheduler": _discrete,
    "FlowMatchEulerDiscreteScheduler": _flow,
    "FlowMatchHeunDiscreteScheduler": _flow,
}
