"""A script for a host with Dynamic VRAM: what becomes of native buffers when feature spaces copy networks.

On the CPU the host hangs none on modules, so stand-ins of its own classes are hung here as its loader does on a GPU.
The script prints a JSON object: the native calls that dropping a copy makes, and what was computed.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

host, sys.argv = sys.argv[1], [sys.argv[0], "--cpu"]
sys.path.insert(0, host)

from comfy.cli_args import args  # noqa: E402

args.cpu = True

import comfy.clip_vision  # noqa: E402
import comfy.latent_formats  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import comfy_aimdo.control  # noqa: E402
import comfy_aimdo.host_buffer  # noqa: E402
import comfy_aimdo.model_vbar  # noqa: E402
import torch  # noqa: E402
from diversity_guidance.embedded.assets_path import asset  # noqa: E402
from diversity_guidance.nodes.host import encoders  # noqa: E402

freed: list[str] = []


class Library:
    """Takes the place of the native library and notes what is called."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: freed.append(name)


class Arena(comfy_aimdo.model_vbar.ModelVBAR):
    """Memory that the host has reserved for a model."""

    def __init__(self) -> None:
        self._devctx, self._ptr, self.device, self.max_size, self.offset, self.base_addr = 1, 1, 0, 10**9, 0, 0


def hang_native_buffers(network: Any) -> None:
    """As the host's loader does."""
    arena = Arena()
    buffer = comfy_aimdo.host_buffer.HostBuffer.__new__(comfy_aimdo.host_buffer.HostBuffer)
    buffer.size, buffer.prewarm, buffer._ptr = 0, 0, 1
    network.dynamic_vbars = {"cuda:0": arena}
    network.dynamic_pins = {"cuda:0": {"weights": (buffer, [], [-1], [0], [0], {})}}
    for module in network.modules():
        if hasattr(module, "comfy_cast_weights"):
            module._v = arena.alloc(1024)
            module._pin_state = network.dynamic_pins["cuda:0"]
            module.comfy_cast_weights = True


def clip_vision(**config: Any) -> Any:
    """A tiny CLIP_VISION of random weights."""
    tiny = {"hidden_act": "quick_gelu", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    model = comfy.clip_vision.ClipVisionModel({**tiny, "num_channels": 3, "num_hidden_layers": 3, **config})
    generator = torch.Generator().manual_seed(0)
    for weight in model.model.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.2
    return model


comfy_aimdo.model_vbar.lib = comfy_aimdo.host_buffer.lib = comfy_aimdo.control.lib = Library()
cpu = torch.device("cpu")
with torch.inference_mode():
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(asset("vae.safetensors")), safe_load=True))
    square = clip_vision(model_type="clip_vision_model", image_size=32, patch_size=8, projection_dim=24)
    any_size = clip_vision(model_type="siglip2_vision_model", image_size=-1, patch_size=8, num_patches=16)
    latents = torch.randn((1, 16, 8, 8), generator=torch.Generator().manual_seed(0))
    expected = vae.decode(latents).movedim(-1, 1)
networks = [vae.first_stage_model, square.model, any_size.model]
for each in networks:
    hang_native_buffers(each)
with torch.inference_mode(False):
    decode = encoders._decoder(vae, comfy.latent_formats.LatentFormat(), cpu)
    given = latents.clone().requires_grad_()
    images = decode(given)
    spaces = [encoders.image_space(encoders.CLIP_VISION, each, cpu) for each in (square, any_size)]
    vectors = [space(images) for space in spaces]
    sum(each[:, 0].sum() for each in vectors).backward()
    said = {
        "same as the host": bool(torch.allclose(images.detach(), expected.clone(), atol=1e-3)),
        "gradient": bool(given.grad is not None and given.grad.any()),
        "dimensions": [each.shape[1] for each in vectors],
        "freed while in use": list(freed),
    }
    del decode, spaces, vectors, images
gc.collect()
print(json.dumps({**said, "freed after the run": list(freed)}))  # noqa: T201
