"""Image to image and inpainting: where a run begins, what may change, and what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diversity_guidance.diffusers import steer
from diversity_guidance.guidance import RepellencySettings, SparseRepellency
from support import tiny_pipelines
from support.missing import library
from support.recording import Recording
from support.tiny_pipelines import SIZE, WIDE, Tiny, tiny

diffusers = library("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

KINDS: dict[str, tuple[Callable[..., Tiny], str]] = {
    "stable_diffusion": (tiny_pipelines.stable_diffusion, "StableDiffusion{}Pipeline"),
    "stable_diffusion_xl": (tiny_pipelines.stable_diffusion_xl, "StableDiffusionXL{}Pipeline"),
    "stable_diffusion_3": (tiny_pipelines.stable_diffusion_3, "StableDiffusion3{}Pipeline"),
    "flux": (tiny_pipelines.flux, "Flux{}Pipeline"),
    "qwen_image": (tiny_pipelines.qwen_image, "QwenImage{}Pipeline"),
    "z_image": (tiny_pipelines.z_image, "ZImage{}Pipeline"),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Callable[..., Tiny], str]:
    return KINDS[request.param]


def image() -> Any:
    from PIL import Image

    return Image.effect_noise((WIDE, SIZE), 60).convert("RGB")


def right_half() -> Any:
    """White, where the image may change, from pixel 32 of 48 on."""
    from PIL import Image

    mask = Image.new("L", (WIDE, SIZE))
    mask.paste(255, (32, 0, WIDE, SIZE))
    return mask


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_image_to_image(kind: tuple[Callable[..., Tiny], str], scale: float) -> None:
    """The run begins in the middle of the schedule; the last estimate is still the result."""
    build, name = kind
    made = tiny(build, name.format("Img2Img"))
    recording = Recording(shift=0.3)
    with steer(made.pipe, recording) as steering:
        made.call(scale, image=image(), strength=0.5, num_inference_steps=6)
    (run,) = recording.runs
    assert len(recording.steps) == len(run.sigmas) - 1 == 3
    assert run.latent_shape == made.shape
    assert torch.allclose(recording.finals[0], recording.answers[-1], atol=1e-3)
    assert steering.latents is not None
    assert [step.progress for step in recording.steps] == pytest.approx([0, 0.5, 1], abs=0.3)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_inpainting(kind: tuple[Callable[..., Tiny], str], scale: float) -> None:
    build, name = kind
    made = tiny(build, name.format("Inpaint"))
    given = {"image": image(), "mask_image": right_half(), "strength": 1.0}
    recording = Recording()
    with steer(made.pipe, recording):
        made.call(scale, **given)
    for step in recording.steps:
        assert step.mask is not None
        mask = step.mask.broadcast_to(step.noisy.shape)
        assert (mask[..., 4:] == 1).all() and (mask[..., :4] == 0).all()
    guidance = SparseRepellency(RepellencySettings(absolute_radius=300.0, ensure_outside=True))
    with steer(made.pipe, guidance) as steering:
        first = made.call(scale, **given)
    plain = made.call(scale, **given)
    assert not torch.allclose(first, plain, atol=0.1)
    assert guidance.trace.violations == []
    if made.shape[-1] == 6 and first.ndim == 4:  # not packed
        assert torch.equal(first[..., :4], plain[..., :4])
        # What is remembered is the whole image, with the part that was kept.
        run_space = steering.space.to_model(steering.latents)
        assert torch.allclose(run_space, first.float(), atol=1e-4)


def test_inpainting_models_that_are_shown_the_mask() -> None:
    """Their denoiser has further channels."""
    made = tiny(tiny_pipelines.stable_diffusion, "StableDiffusionInpaintPipeline", 9)
    recording = Recording(shift=0.1)
    with steer(made.pipe, recording):
        made.call(3.0, image=image(), mask_image=right_half(), strength=1.0)
    assert recording.runs[0].latent_shape == made.shape
    assert recording.steps[0].mask is not None
    assert torch.allclose(recording.finals[0], recording.answers[-1], atol=1e-3)


@pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler"])
def test_where_a_run_begins_with_other_schedulers(name: str) -> None:
    made = tiny(tiny_pipelines.stable_diffusion, "StableDiffusionImg2ImgPipeline")
    given = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
    made.pipe.scheduler = getattr(diffusers, name).from_config(made.pipe.scheduler.config, **given)
    recording = Recording(shift=0.3)
    with steer(made.pipe, recording):
        made.call(1.0, image=image(), strength=0.5, num_inference_steps=6)
    (run,) = recording.runs
    assert len(recording.finals) == 1
    assert run.sigmas[0] == recording.steps[0].sigma < 5
