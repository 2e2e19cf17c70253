"""What stands beside a steered pipeline: Diverse Noise, real examples, protected folders, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diversity_guidance import embedded
from diversity_guidance.diffusers import (
    encode_images,
    exemplars,
    initial_latents,
    protect_folder,
    report,
    steer,
)
from diversity_guidance.embedded.latent_space import LATENT_FORMAT
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.guidance import NoiseDesign, RepellencySettings, SparseRepellency, VendiGuidance
from PIL import Image
from support.missing import library
from support.recording import Recording
from support.tiny_pipelines import BUILDERS, SIZE, WIDE, Tiny, tiny

library("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture(scope="module", params=BUILDERS)
def made(request: pytest.FixtureRequest) -> Tiny:
    return tiny(BUILDERS[request.param])


@pytest.fixture(scope="module")
def pipe() -> embedded.EmbeddedPipeline:
    pipe = embedded.pipeline(turbo=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sampled(pipe: Any, **given: Any) -> list[Image.Image]:
    wanted = {"num_inference_steps": 4, "guidance_scale": 1.0, "num_images_per_prompt": 3, **given}
    return pipe("doctor", generator=torch.Generator().manual_seed(1), **wanted).images


def test_noise_that_is_designed(made: Tiny) -> None:
    """The run begins with it, in the shape that ComfyUI has."""
    design = NoiseDesign(3, mode="simplex", set_size=4)
    frames = {"frames": 5} if made.count == "num_videos_per_prompt" else {}
    latents = initial_latents(made.pipe, design, 2, height=SIZE, width=WIDE, **frames)
    recording = Recording()
    with steer(made.pipe, recording):
        made.call(1.0, latents=latents)
    expected = design.sample(range(2), made.shape)
    first = recording.steps[0]
    level = first.sigma if first.sigma > 1 else 1.0
    assert torch.allclose(first.noisy / level, expected, rtol=0.02, atol=1e-3)


def test_noise_of_the_pipelines_own_size(pipe: Any) -> None:
    design = NoiseDesign(1)
    assert torch.equal(initial_latents(pipe, design, [4, 5]), design.sample([4, 5], (16, 8, 8)))


def test_noise_of_unknown_size() -> None:
    videos = tiny(BUILDERS["wan"])
    with pytest.raises(ValueError, match="frames of videos"):
        initial_latents(videos.pipe, NoiseDesign(1), 2, height=SIZE, width=WIDE)
    with pytest.raises(ValueError, match="height and width"):
        initial_latents(tiny(BUILDERS["wan"]).pipe, NoiseDesign(1), 2, frames=5)


def test_images_become_the_latents_that_comfyui_has(made: Tiny) -> None:
    latents = encode_images(made.pipe, torch.rand(2, 3, SIZE, WIDE))
    shape = (made.shape[0], 1, *made.shape[2:]) if len(made.shape) == 4 else made.shape
    assert latents.shape == (2, *shape)
    assert latents.dtype == torch.float32


def test_images_of_the_embedded_model() -> None:
    images = torch.rand(2, 3, 64, 64)
    expected = EmbeddedModel.load().autoencoder.encode(images)
    assert torch.allclose(encode_images(embedded.pipeline(), images), expected, atol=1e-6)


def test_real_examples(pipe: Any, tmp_path: Path) -> None:
    images = sampled(pipe)
    images[0].save(tmp_path / "first.png")
    examples = exemplars(pipe, [tmp_path / "first.png", *images[1:]])
    assert (len(examples), examples.latent_format) == (3, LATENT_FORMAT)
    assert torch.equal(examples.images[0], exemplars(pipe, images).images[0])
    guidance = VendiGuidance(exemplars=examples)
    with steer(pipe, guidance):
        pipe("cat", num_inference_steps=2, guidance_scale=1.0)
    assert guidance.trace.headline().startswith("Moved 1 of 1")


def test_a_protected_folder(pipe: Any, tmp_path: Path) -> None:
    """No image leaves the pipeline within the radius of one of the folder."""
    (folder := tmp_path / "images").mkdir()
    for place, image in enumerate(sampled(pipe)):
        image.save(folder / f"{place}.png")
    index = protect_folder(pipe, folder, tmp_path / "index", height=64, width=64)
    assert (len(index), index.name(0)) == (3, "0.png")
    again = protect_folder(pipe, folder, tmp_path / "index", height=64, width=64)
    assert again.fingerprint() == index.fingerprint()
    settings = RepellencySettings(absolute_radius=12.0, ensure_outside=True, in_batch=False)
    guidance = SparseRepellency(settings, protected=[index])
    with steer(pipe, guidance) as steering:
        sampled(pipe)
    assert guidance.trace.violations == []
    assert steering.latents is not None
    moved = steering.space.to_model(steering.latents).flatten(1)
    held = steering.space.to_model(index.sample(3)).flatten(1)
    assert torch.cdist(moved, held).min() >= 12


def test_another_size_than_the_protected_one(pipe: Any, tmp_path: Path) -> None:
    (folder := tmp_path / "images").mkdir()
    sampled(pipe)[0].save(folder / "one.png")
    index = protect_folder(pipe, folder, tmp_path / "index", height=64, width=64)
    guidance = SparseRepellency(RepellencySettings(), protected=[index])
    with steer(pipe, guidance), pytest.raises(ValueError, match="nothing would be protected"):
        sampled(pipe, height=80, width=64)


def test_the_report_of_images(pipe: Any) -> None:
    images = sampled(pipe)
    found = report([*images, images[0]], groups=["a", "a", "b", "b"])
    assert (found.images, len(found.groups)) == (4, 2)
    assert dict(zip(found.duplicates.rejected, found.duplicates.duplicate_of, strict=True))[3] == 0
    grey = report([image.convert("L") for image in images])
    assert grey.images == 3
