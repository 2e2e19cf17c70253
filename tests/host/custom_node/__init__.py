"""Nodes that only the tests need: tiny models built from a seed, and a guidance that writes down what it is told."""

from __future__ import annotations

import json
import math
from collections import deque
from typing import Any
from uuid import uuid4

import comfy.ldm.modules.diffusionmodules.mmdit
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.ldm.wan.model
import comfy.ops
import comfy.patcher_extension
import comfy.samplers
import comfy.sd
import torch
from diversity_guidance.guidance.base import Guidance, SamplingRun, SamplingStep
from diversity_guidance.guidance.trace import Trace
from diversity_guidance.nodes.host.sampling import guided
from torch import Tensor, nn

from .anything import TestAnything
from .architectures import ARCHITECTURE_NODES
from .other_packs import OTHER_PACKS
from .pictures import TestPictures
from .samplers import SAMPLER_NODES
from .tiny_clip_vision import TestTextHalf, TestTinyClipVision

CATEGORY = "tests"


def tiny_wan() -> nn.Module:
    """One block of a video model: latents (B, 16, T, H, W), a flow."""
    return comfy.ldm.wan.model.WanModel(
        dim=128, ffn_dim=64, num_heads=1, num_layers=1, operations=comfy.ops.manual_cast, dtype=torch.float32
    )


def tiny_unet() -> nn.Module:
    """A UNet of Stable Diffusion 2's type with one level: latents (B, 4, H, W), predicts noise."""
    return comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        num_res_blocks=[1],
        channel_mult=[1],
        transformer_depth=[1],
        transformer_depth_output=[0, 0],
        transformer_depth_middle=-2,
        context_dim=1024,
        num_head_channels=64,
        use_spatial_transformer=True,
        use_linear_in_transformer=True,
        legacy=False,
        operations=comfy.ops.manual_cast,
        dtype=torch.float32,
    )


def tiny_sd3() -> nn.Module:
    """One block of Stable Diffusion 3's architecture, which is the embedded model's, too: latents (B, 16, H, W)."""
    return comfy.ldm.modules.diffusionmodules.mmdit.MMDiT(
        input_size=None,
        in_channels=16,
        out_channels=16,
        depth=1,
        adm_in_channels=32,
        context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 64}},
        operations=comfy.ops.manual_cast,
        dtype=torch.float32,
    )


BUILDERS = {"wan": tiny_wan, "unet": tiny_unet, "sd3": tiny_sd3}
CONTEXT = {"wan": (4, 4096), "unet": (4, 1024), "sd3": (4, 64)}


class TestTinyModel:
    """A MODEL of random weights, and a CONDITIONING that fits it."""

    CATEGORY = CATEGORY
    FUNCTION = "build"
    RETURN_TYPES = ("MODEL", "CONDITIONING", "CONDITIONING")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"kind": (list(BUILDERS),)}}

    def build(self, kind: str) -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(0)
        state = {
            name: torch.randn(value.shape, generator=generator) / math.sqrt(max(value.shape[-1:], default=1) * 2)
            for name, value in BUILDERS[kind]().state_dict().items()
        }
        conditions = [torch.randn((1, *CONTEXT[kind]), generator=generator) for _ in range(2)]
        model = comfy.sd.load_diffusion_model_state_dict(state)
        return (model, *([[condition, {}]] for condition in conditions))


class Probe(Guidance):
    """Adds a constant to every estimate and to the result, and writes down what it is told."""

    def __init__(self, record: dict[str, Any], push: float, push_end: float) -> None:
        self.record = record
        self.push = push
        self.push_end = push_end
        self._trace = Trace()

    def begin(self, run: SamplingRun) -> None:
        ones = torch.ones((1, *run.latent_shape), device=run.device)
        self.record.update(
            batch_size=run.batch_size,
            latent_shape=run.latent_shape,
            sigmas=run.sigmas.tolist(),
            latent_format=run.latent_format,
            seed=run.seed,
            one_in_model_space=float(run.to_model_space(ones).mean()),
            steps=[],
        )

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        self.record["steps"].append(
            {
                "sigma": step.sigma,
                "next_sigma": step.next_sigma,
                "progress": step.progress,
                "conditional_is_denoised": step.conditional is denoised,
                "conditional": float(step.conditional.mean()),
                "denoised": float(denoised.mean()),
                "finite": bool(denoised.isfinite().all()),
                "shape": tuple(denoised.shape),
                "noisy_shape": tuple(step.noisy.shape),
                "mask": None if step.mask is None else [float(step.mask.mean()), *step.mask.shape],
            }
        )
        return denoised + self.push if self.push else denoised

    def finish(self, samples: Tensor) -> Tensor:
        self._trace.finished = True
        self.record["final"] = float(samples.mean())
        return samples + self.push_end if self.push_end else samples

    @property
    def trace(self) -> Trace:
        return self._trace


class TestProbe:
    """Patches a MODEL with a ``Probe``."""

    CATEGORY = CATEGORY
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL", "TEST_RECORDS")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        numbers = {"push": ("FLOAT", {"default": 0.0}), "push_end": ("FLOAT", {"default": 0.0})}
        return {"required": {"model": ("MODEL",), **numbers}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> str:
        # Its records are filled later: no node and no run may share them.
        return uuid4().hex

    def patch(self, model: Any, push: float, push_end: float) -> tuple[Any, ...]:
        records: deque[dict[str, Any]] = deque()

        def make(percent_to_sigma: Any) -> Probe:
            records.append({"half": percent_to_sigma(0.5)})
            return Probe(records[-1], push, push_end)

        def report(trace: Trace, latents: Tensor, latent_format: str) -> None:
            records[-1].update(reported=float(latents.mean()), notes=trace.notes, finished=trace.finished)

        return guided(model, make, report), records


class TestProbeReport:
    """Shows what the runs of a probed MODEL wrote down, after the run that made the LATENT."""

    CATEGORY = CATEGORY
    FUNCTION = "show"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"samples": ("LATENT",), "records": ("TEST_RECORDS",)}}

    def show(self, samples: Any, records: deque[dict[str, Any]]) -> dict[str, Any]:
        return {"ui": {"text": [json.dumps(list(records))]}}


class TestPackedRun:
    """Takes two latents packed into one through a MODEL's outer-sample wrappers; the sampler in them does nothing."""

    CATEGORY = CATEGORY
    FUNCTION = "run"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",)}}

    def run(self, model: Any) -> tuple[dict[str, Tensor]]:
        guider = comfy.samplers.CFGGuider(model)
        wrappers = model.get_all_wrappers(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE)

        def sample(noise: Tensor, latent_image: Tensor, *_: Any, **__: Any) -> Tensor:
            return noise

        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(sample, guider, wrappers)
        packed = torch.ones(1, 1, 96)
        shapes = [torch.Size((1, 4, 4, 4)), torch.Size((1, 8, 4))]
        given = (packed, packed, None, torch.tensor([1.0, 0.5, 0.0]), None, None, True, 7)
        return ({"samples": executor.execute(*given, latent_shapes=shapes)},)


class TestTrace:
    """Shows the summary of the run that made a LATENT."""

    CATEGORY = CATEGORY
    FUNCTION = "show"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"samples": ("LATENT",), "trace": ("DIVERSITY_TRACE",), "model": ("MODEL",)}}

    def show(self, samples: Any, trace: Any, model: Any) -> dict[str, Any]:
        found = trace.of(samples["samples"])
        return {"ui": {"text": ["" if found is None else found.summary()]}}


TEST_NODES = (
    TestTinyModel,
    TestTinyClipVision,
    TestTextHalf,
    TestProbe,
    TestProbeReport,
    TestPackedRun,
    TestTrace,
    TestPictures,
    TestAnything,
    *ARCHITECTURE_NODES,
    *SAMPLER_NODES,
    *OTHER_PACKS,
)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in TEST_NODES}
