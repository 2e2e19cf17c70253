"""Prompt easing without classifier-free guidance: a steered pipeline evaluates the negative prompt itself."""

from __future__ import annotations

from functools import wraps
from typing import Any

import pytest
import torch
from diversity_guidance import embedded
from diversity_guidance.diffusers import steer
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.embedded.schedule import TRAINED_LEVELS, sigma_at_percent
from diversity_guidance.embedded.transformer import to_raw_latents
from diversity_guidance.guidance import Chain, EasingSettings, PromptEasing, SparseRepellency
from diversity_guidance.guidance.base import Guidance
from support.missing import library
from support.recording import Recording
from support.tiny_pipelines import BUILDERS, Tiny, tiny

library("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

STEPS, BATCH, SEED = 8, 3, 5


def eased() -> Guidance:
    """Three silent steps, then three with less of the prompt."""
    easing = PromptEasing(EasingSettings(sigma_at_percent(0.4), sigma_at_percent(0.8)))
    return Chain([easing, SparseRepellency()])


def test_as_in_the_embedded_models_own_loop() -> None:
    model, calls = EmbeddedModel.load(turbo=True), []
    expected_guidance = eased()
    handle = model.transformer.register_forward_hook(lambda *_: calls.append("own"))
    expected = model.sample(["doctor"] * BATCH, SEED, steps=STEPS, cfg=1.0, guidance=expected_guidance)
    handle.remove()
    pipe = embedded.pipeline(turbo=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.transformer.register_forward_hook(lambda *_: calls.append("pipe"))
    guidance = eased()
    with steer(pipe, guidance):
        latents = pipe(
            "doctor",
            num_images_per_prompt=BATCH,
            guidance_scale=1.0,
            sigmas=[(TRAINED_LEVELS - step * TRAINED_LEVELS // STEPS) / TRAINED_LEVELS for step in range(STEPS)],
            generator=torch.Generator().manual_seed(SEED),
            output_type="latent",
        ).images
    assert torch.allclose(to_raw_latents(latents), expected, atol=1e-4)
    assert guidance.trace.eased == expected_guidance.trace.eased == "Prompt eased in 6 of 8 steps"
    # That the run has no classifier-free guidance is known from its first step on.
    assert calls.count("pipe") == calls.count("own") + 1 == STEPS + 4


@pytest.mark.parametrize("name", BUILDERS)
def test_every_family_evaluates_the_negative_prompt(name: str) -> None:
    """It is the estimate that classifier-free guidance shows as the negative prompt's."""
    made: Tiny = tiny(BUILDERS[name])
    pipe = made.pipe
    encode = pipe.encode_prompt
    own = {key: value for key, value in made.embeddings.items() if "embeds" in key}
    negative = {key.removeprefix("negative_"): value for key, value in own.items() if key.startswith("negative_")}
    negative = {key: value[:1] for key, value in (negative or own).items()}

    @wraps(encode)
    def encoded(**given: Any) -> Any:
        return encode(**{**given, **negative})

    recording = Recording(empty=True)
    pipe.text_encoder = pipe.vae  # any will do, as what it encodes is given
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipe, "encode_prompt", encoded)
        steering = steer(pipe, PromptEasing(EasingSettings()), recording, negative_prompt="anything")
    pipe.text_encoder = None
    with steering:
        made.call(1.0)
    found = recording.empties[0]
    if made.scale:
        guided = Recording(empty=True)
        with steer(pipe, guided):
            made.call(3.0)
        expected = guided.empties[0]
    else:
        expected = recording.estimates[0]
    assert found is not None and expected is not None
    # Where every image is given a negative prompt of its own, only the first is that of this test.
    rows = 2 if made.count else 1
    assert torch.allclose(found[:rows], expected[:rows], atol=1e-4)


def test_without_a_text_encoder_the_trace_says_why() -> None:
    made = tiny(BUILDERS["flux"])
    guidance = PromptEasing(EasingSettings(0.5))
    with steer(made.pipe, guidance):
        made.call(1.0)
    assert "no negative prompt" in guidance.trace.notes[0]
