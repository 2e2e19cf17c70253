"""Samplers that call the host as other packs do: inner iterations, tiles one after the other, and restarts.

LanPaint puts functions of its own in the place of the host's for a while: each prediction is combined at two scales,
and each step first goes over the unknown part several times at its noise level. TiledKSampler makes a run of its own
for every step of every tile. Restart sampling puts a function in the place of the sampler's that goes up again midway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from typing import Any

import comfy.k_diffusion.sampling
import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

import nodes

CATEGORY = "tests"
KSAMPLER = {
    "model": ("MODEL",),
    "positive": ("CONDITIONING",),
    "negative": ("CONDITIONING",),
    "latent_image": ("LATENT",),
    "seed": ("INT", {"default": 1}),
    "steps": ("INT", {"default": 3}),
    "cfg": ("FLOAT", {"default": 3.0}),
}
INNER, SECOND_SCALE, SIDE = 2, 0.5, 4


class SamplerNode:
    """Takes what KSampler takes."""

    CATEGORY = CATEGORY
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": KSAMPLER}


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put something else in the place of an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def common_ksampler(given: dict[str, Any]) -> tuple[dict[str, Tensor]]:
    """What KSampler does, with Euler's method."""
    return nodes.common_ksampler(
        given["model"],
        given["seed"],
        given["steps"],
        given["cfg"],
        "euler",
        "simple",
        given["positive"],
        given["negative"],
        given["latent_image"],
    )


def at_two_scales(
    guider: Any, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None
) -> tuple[Tensor, ...]:
    """One evaluation, combined with the guider's scale and with a second one."""
    conds, options = [guider.conds["positive"], guider.conds["negative"]], model_options or {}
    wanted, other = comfy.samplers.calc_cond_batch(guider.inner_model, conds, x, timestep, options)
    given = {"model_options": options, "cond": conds[0], "uncond": conds[1]}
    return tuple(
        comfy.samplers.cfg_function(guider.inner_model, wanted, other, scale, x, timestep, **given)
        for scale in (guider.cfg, SECOND_SCALE)
    )


class InnerIterations:
    """What a sampler evaluates: the unknown part is renewed several times at each noise level."""

    def __init__(self, guider: Any, known: Tensor, noise: Tensor) -> None:
        self.inner_model = guider
        self.known = known
        self.noise = noise
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, x: Tensor, sigma: Tensor, denoise_mask: Tensor, model_options: Any, seed: Any) -> Tensor:
        level, free = sigma.view(-1, 1, 1, 1), (denoise_mask > 0.5).float()
        for _ in range(INNER):
            x = torch.where(free > 0, x, torch.lerp(self.known, self.noise, level))
            estimate, second = self.inner_model(x, sigma, model_options=model_options, seed=seed)
            fresh = torch.randn(x.shape, generator=self.generator)
            x = torch.lerp(torch.where(free > 0, (estimate + second) / 2, self.known), fresh, level)
        estimate, _ = self.inner_model(x, sigma, model_options=model_options, seed=seed)
        return estimate * free + self.known * (1 - free)


def sample_with_iterations(
    sampler: Any,
    guider: Any,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    callback: Any,
    noise: Tensor,
    latent_image: Tensor,
    denoise_mask: Tensor,
    disable_pbar: bool = False,
) -> Tensor:
    """What stands in the place of the host's method that samples."""

    def told(state: dict[str, Any]) -> None:
        callback(state["i"], state["denoised"], state["x"], len(sigmas) - 1)

    extra_args["denoise_mask"] = denoise_mask
    evaluated = InnerIterations(guider, latent_image, noise)
    sampling = guider.inner_model.model_sampling
    x = sampling.noise_scaling(sigmas[0], noise, latent_image, sampler.max_denoise(guider, sigmas))
    x = sampler.sampler_function(evaluated, x, sigmas, extra_args=extra_args, callback=told, disable=disable_pbar)
    return sampling.inverse_noise_scaling(sigmas[-1], x)


class TestInnerIterations(SamplerNode):
    """As LanPaint samples."""

    def sample(self, **given: Any) -> tuple[dict[str, Tensor]]:
        with (
            replaced(comfy.samplers.CFGGuider, "predict_noise", at_two_scales),
            replaced(comfy.samplers.KSAMPLER, "sample", sample_with_iterations),
        ):
            return common_ksampler(given)


class TestTiles(SamplerNode):
    """As TiledKSampler samples: each step goes over all tiles, and noise is added before the first one alone."""

    def sample(
        self, model: Any, positive: Any, negative: Any, latent_image: dict[str, Any], seed: int, steps: int, cfg: float
    ) -> tuple[dict[str, Tensor]]:
        sampler = comfy.samplers.KSampler(model, steps, model.load_device, "euler", "simple", 1.0, model.model_options)
        latents = latent_image["samples"].clone()
        noise = comfy.sample.prepare_noise(latents, seed)
        for step in range(steps):
            for top, left in product(*(range(0, length, SIDE) for length in latents.shape[-2:])):
                part = ..., slice(top, top + SIDE), slice(left, left + SIDE)
                latents[part] = sampler.sample(
                    noise[part] if step == 0 else torch.zeros_like(noise[part]),
                    positive,
                    negative,
                    cfg=cfg,
                    latent_image=latents[part],
                    start_step=step,
                    last_step=step + 1,
                    force_full_denoise=False,
                    disable_pbar=True,
                    seed=seed,
                )
        return ({**latent_image, "samples": latents},)


def restarting(sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A sampler's function that is called for one step at a time, and goes up once to the second level."""

    def wrapped(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, **_: Any) -> Any:
        step = 0

        def counted(state: dict[str, Any]) -> None:
            callback({**state, "i": step})

        for high, low in _path(sigmas.tolist()):
            if high < low:
                x = x + torch.randn_like(x) * (low**2 - high**2) ** 0.5
                continue
            x = sample(model, x, torch.tensor([high, low]), extra_args, counted, True)
            step += 1
        return x

    return wrapped


def _path(levels: list[float]) -> list[tuple[float, float]]:
    """Down to the last level with noise, up to the second, and down to the end."""
    down = list(pairwise(levels[:-1]))
    return [*down, (levels[-2], levels[1]), *pairwise(levels[1:])]


class TestRestarts(SamplerNode):
    """As restart sampling samples."""

    def sample(self, **given: Any) -> tuple[dict[str, Tensor]]:
        functions = comfy.k_diffusion.sampling
        with replaced(functions, "sample_euler", restarting(functions.sample_euler)):
            return common_ksampler(given)


OTHER_PACKS = (TestInnerIterations, TestTiles, TestRestarts)
