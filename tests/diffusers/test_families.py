"""Tiny pipelines of every family: what a guidance is shown, and that the sampler follows its answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.diffusers import steer
from diversity_guidance.guidance import RepellencySettings, SparseRepellency
from support.missing import library
from support.recording import Recording
from support.tiny_pipelines import BUILDERS, Tiny, tiny
from torch import Tensor

library("diffusers")

# Of the library itself, with recent versions of numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture(scope="module", params=BUILDERS)
def made(request: pytest.FixtureRequest) -> Tiny:
    return tiny(BUILDERS[request.param])


def test_latents_are_those_that_comfyui_has(made: Tiny) -> None:
    """Shape and format; the pipeline itself turns the same latents into raw ones for its VAE."""
    recording, decoded = Recording(), []
    vae = made.pipe.vae
    decode = vae.decode

    def keep(raw: Tensor, *args: Any, **kwargs: Any) -> Any:
        decoded.append(raw)
        return decode(raw, *args, **kwargs)

    vae.decode = keep
    try:
        with steer(made.pipe, recording) as steering:
            made.call(1.0, output_type="pt")
    finally:
        del vae.decode
    (run,) = recording.runs
    assert (run.latent_format, run.latent_shape, run.batch_size) == (made.latent_format, made.shape, 2)
    assert len(run.encoder) == 16
    assert all(step.noisy.shape == (2, *made.shape) for step in recording.steps)
    assert steering.latents is not None
    raw = steering.latents
    assert torch.allclose(run.to_model_space(raw), recording.finals[0], atol=1e-4)
    if made.latent_format == "Flux2":  # ComfyUI normalises and folds them within the VAE.
        deviations = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
        raw = raw * deviations.view(-1, 1, 1) + vae.bn.running_mean.view(-1, 1, 1)
        raw = torch.pixel_shuffle(raw, 2)
    assert torch.allclose(torch.cat(decoded), raw, atol=1e-4)


def test_the_estimate_before_classifier_free_guidance(made: Tiny) -> None:
    """It is the estimate of a run without; the guided one lies beyond it, as seen from the negative prompt's."""
    plain, guided = Recording(), Recording(empty=True)
    with steer(made.pipe, plain):
        made.call(1.0)
    assert all(step.conditional is each for step, each in zip(plain.steps, plain.estimates, strict=True))
    if not made.scale:
        return
    with steer(made.pipe, guided):
        made.call(3.0)
    first = guided.steps[0]
    assert torch.allclose(first.conditional, plain.estimates[0], atol=1e-4)
    assert not torch.allclose(guided.estimates[0], plain.estimates[0], atol=1e-2)
    empty = guided.empties[0]
    assert empty is not None
    ahead, beyond = first.conditional - empty, guided.estimates[0] - empty
    if made.latent_format == "Wan21" and made.scale == "true_cfg_scale":
        return  # Qwen-Image keeps the size of the prompt's prediction.
    assert torch.allclose(beyond, 3 * ahead, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_sampler_follows_the_answer(made: Tiny, scale: float) -> None:
    """Every prediction is turned so that it says what was answered; the last estimate is the result."""
    plain, moved = Recording(), Recording(shift=0.5)
    with steer(made.pipe, plain):
        first = made.call(scale)
    with steer(made.pipe, moved) as steering:
        made.call(scale)
    assert torch.equal(made.call(scale), first), "a recording alone changes nothing"
    assert torch.allclose(moved.answers[0], plain.estimates[0] + 0.5, atol=1e-4)
    assert steering.latents is not None
    assert torch.allclose(moved.finals[0], moved.answers[-1], atol=1e-3)


def test_images_move_apart(made: Tiny) -> None:
    guidance = SparseRepellency(RepellencySettings(absolute_radius=30.0, ensure_outside=True))
    with steer(made.pipe, guidance):
        made.call(3.0)
    assert guidance.trace.violations == []
    assert min(guidance.trace.final_nearest) >= 30 * 0.999
