"""The embedded model as a pipeline of diffusers: the same images as its own loop makes."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance import embedded
from diversity_guidance.embedded.latent_space import autoencoder_fingerprint
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.embedded.schedule import TRAINED_LEVELS
from diversity_guidance.embedded.transformer import to_raw_latents
from diversity_guidance.features.fingerprint import encoder_fingerprint
from support.missing import library

library("diffusers")

PROMPT, STEPS, SEED = "woman running", 4, 5
TIMES = [(TRAINED_LEVELS - step * TRAINED_LEVELS // STEPS) / TRAINED_LEVELS for step in range(STEPS)]
"""The times of ComfyUI's simple schedule, which the scheduler shifts."""


@pytest.fixture(scope="module", params=[False, True], ids=["base", "turbo"])
def turbo(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def pipe(turbo: bool) -> embedded.EmbeddedPipeline:
    pipe = embedded.pipeline(turbo)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sampled(pipe: embedded.EmbeddedPipeline, scale: float, **given: object) -> object:
    generator = torch.Generator().manual_seed(SEED)
    wanted = {"num_images_per_prompt": 2, "num_inference_steps": STEPS, "sigmas": TIMES, **given}
    return pipe(PROMPT, guidance_scale=scale, generator=generator, **wanted)  # type: ignore[operator]


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_it_makes_the_same_images(pipe: embedded.EmbeddedPipeline, turbo: bool, scale: float) -> None:
    model = EmbeddedModel.load(turbo)
    expected = model.sample([PROMPT] * 2, SEED, steps=STEPS, cfg=scale)
    latents = sampled(pipe, scale, output_type="latent").images
    assert torch.allclose(to_raw_latents(latents), expected, atol=1e-5)
    images = sampled(pipe, scale, output_type="pt").images
    assert torch.allclose(images, model.decode(expected), atol=1e-4)


def test_prompts_may_be_many(pipe: embedded.EmbeddedPipeline) -> None:
    given = {"num_inference_steps": 1, "output_type": "latent", "guidance_scale": 3.0}
    noise = torch.zeros(1, 16, 8, 8)
    alone = [pipe(name, negative_prompt="cat", latents=noise, **given).images for name in ("dog", "doctor")]
    both = pipe(["dog", "doctor"], negative_prompt="cat", latents=noise.expand(2, -1, -1, -1), **given).images
    assert torch.allclose(both, torch.cat(alone), rtol=1e-4, atol=1e-3)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_another_number_of_negative_prompts(pipe: embedded.EmbeddedPipeline) -> None:
    with pytest.raises(ValueError, match="3 negative prompts for 2 prompts"):
        pipe.encode_prompt(["dog", "cat"], negative_prompt=["a", "b", "c"])


def test_its_latents_are_those_of_the_embedded_autoencoder(pipe: embedded.EmbeddedPipeline) -> None:
    assert encoder_fingerprint(pipe.vae.state_dict()) == autoencoder_fingerprint()
    images = torch.rand(1, 3, 64, 64)
    model = EmbeddedModel.load()
    assert torch.allclose(pipe.vae.encode(images * 2 - 1).latents, model.autoencoder.encode(images), atol=1e-6)
