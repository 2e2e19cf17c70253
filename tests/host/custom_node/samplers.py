"""Samplers and guiders as other packs have them, schedules by hand, and two devices."""

from __future__ import annotations

import gc
from contextlib import suppress
from itertools import pairwise
from typing import Any

import comfy.patcher_extension
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

CATEGORY = "tests"


class TestSigmas:
    """A schedule written by hand."""

    CATEGORY = CATEGORY
    FUNCTION = "make"
    RETURN_TYPES = ("SIGMAS",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"levels": ("STRING", {"default": "1, 0"})}}

    def make(self, levels: str) -> tuple[Tensor]:
        return (torch.tensor([float(level) for level in levels.split(",")]),)


class WithoutWrappers(comfy.samplers.CFGGuider):
    """Samples by itself: none of the wrappers around a run is called."""

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **given: Any
    ) -> Any:
        conds = {name: [dict(each) for each in group] for name, group in self.original_conds.items()}
        loaded = comfy.sampler_helpers.prepare_sampling(self.model_patcher, noise.shape, conds, self.model_options)
        self.inner_model, self.conds, models = loaded
        self.model_patcher.pre_run()
        try:
            callback, mask = given.get("callback"), given.get("denoise_mask")
            return self.inner_sample(
                noise, latent_image, noise.device, sampler, sigmas, mask, callback, True, given.get("seed")
            )
        finally:
            self.model_patcher.cleanup()
            comfy.sampler_helpers.cleanup_models(self.conds, models)


class WithoutCfgFunctions(comfy.samplers.CFGGuider):
    """Puts the two predictions together by itself: no function after CFG is asked."""

    def __call__(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
        pair = [self.conds["positive"], self.conds["negative"]]
        wanted, other = comfy.samplers.calc_cond_batch(self.inner_model, pair, x, timestep, model_options or {})
        return torch.lerp(other, wanted, self.cfg)


GUIDERS = {"without wrappers": WithoutWrappers, "without cfg functions": WithoutCfgFunctions}


class TestGuider:
    """A guider that takes a shortcut."""

    CATEGORY = CATEGORY
    FUNCTION = "make"
    RETURN_TYPES = ("GUIDER",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        sockets = {"model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",)}
        return {"required": {"kind": (list(GUIDERS),), **sockets}}

    def make(self, kind: str, model: Any, positive: Any, negative: Any) -> tuple[Any]:
        guider = GUIDERS[kind](model)
        guider.set_conds(positive, negative)
        guider.set_cfg(3.0)
        return (guider,)


def restarted(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, **_: Any) -> Tensor:
    """Euler's method twice: down, up to the second level again, and down."""
    generator = torch.Generator().manual_seed(0)
    for levels in (sigmas, sigmas[1:]):
        for step, (level, below) in enumerate(pairwise(levels)):
            denoised = model(x, level.expand(len(x)), **(extra_args or {}))
            x = denoised + (x - denoised) * (below / level)
            if callback is not None:
                callback({"x": x, "i": step, "sigma": level, "sigma_hat": level, "denoised": denoised})
        if levels is sigmas:
            x = torch.lerp(x, torch.randn(x.shape, generator=generator), float(sigmas[1]))
    return x


def enlarged(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, **_: Any) -> Tensor:
    """Euler's method with fresh noise, whose latents grow by a half before the last two steps."""
    generator = torch.Generator().manual_seed(0)
    for step, (level, below) in enumerate(pairwise(sigmas)):
        denoised = model(x, level.expand(len(x)), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": step, "sigma": level, "sigma_hat": level, "denoised": denoised})
        if step == len(sigmas) - 4:
            denoised = torch.nn.functional.interpolate(denoised, scale_factor=1.5)
        x = torch.lerp(denoised, torch.randn(denoised.shape, generator=generator), float(below))
    return x


SAMPLERS = {"restarted": restarted, "enlarged": enlarged}


class TestSampler:
    """A sampler that does more than go down its levels."""

    CATEGORY = CATEGORY
    FUNCTION = "make"
    RETURN_TYPES = ("SAMPLER",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"kind": (list(SAMPLERS),)}}

    def make(self, kind: str) -> tuple[Any]:
        return (comfy.samplers.KSAMPLER(SAMPLERS[kind]),)


class TestTwoDevices:
    """Lets the host split each batch between a MODEL and a second one of the same weights, in threads."""

    CATEGORY = CATEGORY
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"model": ("MODEL",), "second": ("MODEL",), "second_first": ("BOOLEAN", {"default": False})}
        }

    def patch(self, model: Any, second: Any, second_first: bool) -> tuple[Any]:
        from comfy.multigpu import MultiGPUThreadPool

        assert second.model.diffusion_model is not model.model.diffusion_model, "both are one network"

        def sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
            guider, options = args[0], args[2]["model_options"]
            clones = [(torch.device("cpu"), guider.model_patcher), (torch.device("cpu", 0), second)]
            # The first device gets the first prompt of a step.
            options["multigpu_clones"] = dict(reversed(clones) if second_first else clones)
            options["multigpu_thread_pool"] = pool = MultiGPUThreadPool(list(options["multigpu_clones"]))
            second.pre_run()
            try:
                return executor(*args, **kwargs)
            finally:
                pool.shutdown()
                second.cleanup()

        split = model.clone()
        split.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, "two devices", sample)
        return (split,)


class TestRunsLeft:
    """Samples a MODEL, whatever comes of it, and shows how many runs are left that wait for a garbage collection."""

    CATEGORY = CATEGORY
    FUNCTION = "sample"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        sockets = {"model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",)}
        return {"required": {**sockets, "latent": ("LATENT",)}}

    def sample(self, model: Any, positive: Any, negative: Any, latent: dict[str, Tensor]) -> dict[str, Any]:
        gc.collect()
        gc.disable()
        try:
            finished = self._finishes(model, positive, negative, latent["samples"])
            # The host has loaded the pack under another name than this one imports it by.
            left = sum(type(each).__name__ == "ActiveRun" for each in gc.get_objects())
        finally:
            gc.enable()
        return {"ui": {"text": [f"{'finished' if finished else 'failed'}, {left} left"]}}

    def _finishes(self, model: Any, positive: Any, negative: Any, latent: Tensor) -> bool:
        noise = comfy.sample.prepare_noise(latent, 1)
        with suppress(RuntimeError, IndexError):
            comfy.sample.sample(model, noise, 3, 3.0, "euler", "simple", positive, negative, latent, seed=1)
            return True
        return False


SAMPLER_NODES = (TestSigmas, TestGuider, TestSampler, TestTwoDevices, TestRunsLeft)
