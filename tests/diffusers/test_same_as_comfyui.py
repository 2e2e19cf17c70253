"""The same latents give the same correction in a pipeline of diffusers and in a real ComfyUI."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance import embedded
from diversity_guidance.embedded.assets_path import asset
from diversity_guidance.embedded.schedule import TRAINED_LEVELS
from diversity_guidance.guidance import ImageReferences, RepellencySettings, SparseRepellency
from support.host_checkouts import PACK
from support.in_comfyui import run_in_comfyui
from support.missing import library
from support.recording import Recording
from torch import Tensor

library("diffusers")

PROMPT, STEPS, BATCH = "woman running", 6, 4
TOLERANCE = 1e-5
"""Largest difference relative to the largest value: two implementations of the network round differently."""

IN_COMFYUI = f"""
import importlib.util
import torch
from safetensors.torch import load_file, save_file
spec = importlib.util.spec_from_file_location(
    "diversity_guidance", {str(PACK / "__init__.py")!r}, submodule_search_locations=[{str(PACK)!r}]
)
package = sys.modules["diversity_guidance"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
sys.path.append({str(Path(__file__).parents[1])!r})
import comfy.sample
import comfy.sd
from diversity_guidance.guidance import ImageReferences, RepellencySettings, SparseRepellency
from diversity_guidance.nodes.host.sampling import guided
from support.recording import Recording

given = load_file(inputs)
model = comfy.sd.load_diffusion_model(weights, model_options={{"dtype": torch.float32}})
prompt, negative = (
    [[given[name], {{"pooled_output": given["pooled " + name]}}]] for name in ("prompt", "negative")
)
found = {{}}
for cfg in (5.0, 1.0):
    chosen = SparseRepellency(RepellencySettings(radius=0.6), [ImageReferences(given["avoid"])])
    recording = Recording(chosen, empty=cfg > 1)
    steered = guided(model, lambda _: recording, lambda *_: None)
    comfy.sample.sample(
        steered, given["noise"], {STEPS}, cfg, "euler", "simple", prompt, negative,
        torch.zeros_like(given["noise"]), disable_pbar=True, seed=3,
    )
    found |= {{f"{{cfg}} {{name}}": value for name, value in recording.tensors().items()}}
save_file(found, outputs)
"""


@pytest.fixture(scope="module")
def pipe() -> embedded.EmbeddedPipeline:
    pipe = embedded.pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def given(pipe: embedded.EmbeddedPipeline) -> dict[str, Tensor]:
    torch.manual_seed(0)
    tokens, empty, pooled, pooled_empty = pipe.encode_prompt(PROMPT)
    noise, avoid = torch.randn(BATCH, 16, 8, 8), torch.randn(3, 16, 8, 8)
    names = "prompt", "negative", "pooled prompt", "pooled negative", "noise", "avoid"
    return dict(zip(names, (tokens, empty, pooled, pooled_empty, noise, avoid), strict=True))


@pytest.fixture(scope="module")
def expected(given: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What ComfyUI tells a guidance, and what that answers."""
    return run_in_comfyui(IN_COMFYUI, tmp_path_factory.mktemp("comfyui"), asset("mmdit.safetensors"), given)


@pytest.mark.host
@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_the_same_latents_give_the_same_correction(
    pipe: embedded.EmbeddedPipeline, given: dict[str, Tensor], expected: dict[str, Tensor], cfg: float
) -> None:
    """Every step starts from ComfyUI's latents, which a callback of the user puts in."""
    from diversity_guidance.diffusers import steer

    def follow(_pipe: object, step: int, _time: object, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": expected.get(f"{cfg} {step + 1}.noisy", kept["latents"])}

    chosen = SparseRepellency(RepellencySettings(radius=0.6), [ImageReferences(given["avoid"])])
    recording = Recording(chosen, empty=cfg > 1)
    times = [(TRAINED_LEVELS - int(step * TRAINED_LEVELS / STEPS)) / TRAINED_LEVELS for step in range(STEPS)]
    with steer(pipe, recording):
        pipe(
            PROMPT,
            num_images_per_prompt=BATCH,
            guidance_scale=cfg,
            sigmas=times,
            latents=given["noise"],
            output_type="latent",
            callback_on_step_end=follow,
        )
    found = recording.tensors()
    wanted = {name.removeprefix(f"{cfg} "): value for name, value in expected.items() if name.startswith(f"{cfg} ")}
    assert found.keys() == wanted.keys()
    moved = [float((wanted[f"{step}.answer"] - wanted[f"{step}.estimate"]).abs().max()) for step in range(STEPS)]
    assert min(moved[:3]) > 0.05, "the guidance did next to nothing"
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=0, atol=TOLERANCE * float(value.abs().max().clamp_min(1))), name
    for step in range(STEPS):
        corrections = [each[f"{step}.answer"] - each[f"{step}.estimate"] for each in (found, wanted)]
        assert torch.allclose(*corrections, rtol=0, atol=TOLERANCE * max(1.0, moved[step])), step
