"""Schedulers: the noise levels and estimates that guidances are shown, and that the answer is followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.diffusers import steer
from diversity_guidance.guidance.base import SamplingStep
from support.missing import library
from support.recording import Recording
from support.tiny_pipelines import Tiny, stable_diffusion, stable_diffusion_3, tiny
from torch import Tensor

diffusers = library("diffusers")

# Of the library itself, with recent versions of numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DETERMINISTIC = (
    ("EulerDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "solver_order": 3}),
    ("UniPCMultistepScheduler", {}),
    ("UniPCMultistepScheduler", {"predict_x0": False, "final_sigmas_type": "sigma_min"}),
    ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    ("DDIMScheduler", {"clip_sample": False, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}),
    ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
)
WITH_NOISE = (
    ("EulerAncestralDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("LCMScheduler", {}),
    ("LCMScheduler", {"set_alpha_to_one": False}),
)
FLOWS = (
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
    ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}),
    ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}),
)


class Constant(Recording):
    """Answers every estimate by the same image, so that the sampler's way to it can be computed."""

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        answer = torch.full_like(super().__call__(denoised, step), 0.7)
        self.answers[-1] = answer
        return answer


@pytest.fixture(scope="module")
def unet() -> Tiny:
    return tiny(stable_diffusion)


@pytest.fixture(scope="module")
def flow() -> Tiny:
    return tiny(stable_diffusion_3)


def sampled(made: Tiny, name: str, config: dict[str, Any], steps: int = 5) -> tuple[Constant, Tensor]:
    """What was recorded of a run, and its result in the model's space."""
    made.pipe.scheduler = getattr(diffusers, name)(**config)
    recording = Constant()
    with steer(made.pipe, recording):
        result = made.call(1.0, num_inference_steps=steps)
    return recording, result


def check_levels(recording: Recording) -> None:
    levels = [step.sigma for step in recording.steps]
    assert levels == sorted(levels, reverse=True)
    (run,) = recording.runs
    assert (run.sigmas.diff() < 0).all()
    assert set(run.sigmas[:-1].tolist()) == set(levels)
    assert recording.steps[-1].next_sigma == run.sigmas[-1].item()
    assert [step.progress for step in recording.steps][:: len(levels) - 1] == [0, 1]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("name", "config"), DETERMINISTIC, ids=str)
def test_models_of_noise(unet: Tiny, name: str, config: dict[str, Any], prediction: str) -> None:
    """With a constant estimate c, the exact solution of the probability flow is c + sigma n (arXiv 2206.00364)."""
    if "rescale_betas_zero_snr" in config and prediction == "epsilon":
        return  # no estimate follows from the noise where there is no signal
    if name == "PNDMScheduler" and prediction != "epsilon":
        return  # it averages predictions of several steps, which keeps to the solution for the noise alone
    recording, result = sampled(unet, name, {**BETAS, **config, "prediction_type": prediction})
    check_levels(recording)
    noises = [(step.noisy - 0.7) / step.sigma for step in recording.steps]
    for noise in noises[1:]:
        assert torch.allclose(noise, noises[0], rtol=2e-3, atol=5e-3)
    final = float(recording.runs[0].sigmas[-1])
    assert torch.allclose(result, 0.7 + final * noises[0], atol=3e-3)


@pytest.mark.parametrize(("name", "config"), WITH_NOISE, ids=str)
def test_samplers_that_add_noise(unet: Tiny, name: str, config: dict[str, Any]) -> None:
    recording, result = sampled(unet, name, {**BETAS, **config})
    check_levels(recording)
    assert torch.allclose(result, torch.full_like(result, 0.7), atol=2e-2)
    assert recording.runs[0].sigmas[-1] == 0
    for step in recording.steps:
        assert float(((step.noisy - 0.7) / step.sigma).std()) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("name", "config"), FLOWS, ids=str)
def test_flows(flow: Tiny, name: str, config: dict[str, Any]) -> None:
    """With a constant estimate c, the exact solution is (1 - sigma) c + sigma n."""
    recording, result = sampled(flow, name, config)
    check_levels(recording)
    noises = [(step.noisy - 0.7 * (1 - step.sigma)) / step.sigma for step in recording.steps]
    for noise in noises[1:]:
        assert torch.allclose(noise, noises[0], rtol=2e-3, atol=5e-3)
    assert torch.allclose(result, torch.full_like(result, 0.7), atol=3e-3)


@pytest.mark.parametrize(
    ("name", "config"),
    [("EulerDiscreteScheduler", {}), ("DDIMScheduler", {"clip_sample": False}), ("LCMScheduler", {})],
)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_estimate_is_the_schedulers_own(unet: Tiny, name: str, config: dict[str, Any], prediction: str) -> None:
    own: list[Tensor] = []
    scheduler = getattr(diffusers, name)(**BETAS, **config, prediction_type=prediction)
    original = type(scheduler).step
    made = unet.pipe
    made.scheduler = scheduler

    def keep(self: Any, output: Tensor, timestep: Any, sample: Tensor, **given: Any) -> Any:
        result = original(self, output, timestep, sample, **{**given, "return_dict": True})
        found = result.denoised if name == "LCMScheduler" else result.pred_original_sample
        own.append(found)
        return (result.prev_sample,)

    recording = Recording()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(scheduler), "step", keep)
        with steer(made, recording):
            unet.call(1.0)
    for found, estimate in zip(own, recording.estimates, strict=True):
        # LCM's own is mixed with a little of the sample.
        assert torch.allclose(found, estimate, rtol=1e-3, atol=0.1 if name == "LCMScheduler" else 1e-4)


def test_several_steps_of_one_schedule_only(unet: Tiny) -> None:
    """Latents that leave a run with noise are not called finished."""
    unet.pipe.scheduler = diffusers.EulerDiscreteScheduler(**BETAS)
    recording = Recording()
    with steer(unet.pipe, recording):
        unet.call(1.0)
        unet.call(1.0)
    assert [len(run.sigmas) for run in recording.runs] == [4, 4]
    assert len(recording.finals) == 2


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("PNDMScheduler", {}),
        ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
        ("DDIMScheduler", {"prediction_type": "unknown"}),
        ("KDPM2DiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}),
    ],
)
def test_schedulers_without_a_known_estimate(unet: Tiny, name: str, config: dict[str, Any]) -> None:
    unet.pipe.scheduler = getattr(diffusers, name)(**config)
    with pytest.raises(ValueError, match=f"{name} can"):
        steer(unet.pipe, Recording())
