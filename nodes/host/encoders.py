"""The host's decoders and image encoders as feature spaces for guidance.

Loader nodes load networks in inference mode, which rules out gradients. So each run makes float32 copies outside of
that mode, and drops them at its end.
"""

from __future__ import annotations

import copy
import hashlib
import math
from typing import Any, NamedTuple

import comfy.model_management
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...features.colour_layout import ColourLayout
from ...features.content.network import ContentNetwork
from ...features.encoder import Encoder
from ...features.latent_preview import LatentPreview
from ...features.network_copy import network_copy
from ...features.random_network import RandomNetwork
from ...features.space import FeatureSpace
from ...guidance.base import SamplingRun
from ...guidance.vendi.latent_features import Decode, LatentFeatures, MakeFeatures, latent_layout
from ..common.images import rgb_images
from .networks.embedded_model import format_of
from .networks.vision_folders import check_vision_folder, is_folder_space, vision_folder_space, vision_folders

LATENTS, PREVIEW = "latents", "preview"
CLIP_VISION = "clip vision"
CONTENT = "content network"
IMAGE_SPACES = ("random network", "colour layout", CONTENT, CLIP_VISION)

SPACES_TOOLTIP = (
    "What images are compared by. latents: colours and layout, as coarse as a thumbnail, at no cost. preview: a random "
    "network on the linear preview of the latents. random network: colours, layout and texture, needs vae (a TAESD is "
    "fast). colour layout: a coarse grid of colours, needs vae. content network: what an image shows, needs vae or the "
    "linear preview. clip vision: the same, needs clip_vision, and vae or the linear preview. open clip and "
    "transformers: the same, by a CLIP, SigLIP or DINOv2 model in a folder below models/clip_vision."
)

DECODED_LATENTS = 64 * 64
"""Latent pixels decoded at once for gradients."""

HASHED_NUMBERS = 65536
"""Largest weights that are hashed into a network's name: biases and norms distinguish models."""

LOADER_STATE = (
    *("_v", "_v_signature", "_pin_state", "_prefetch", "seed_key", "dynamic_vbars", "dynamic_pins", "dynamic_patchers"),
    *("comfy_cast_weights", "prev_comfy_cast_weights", "comfy_patched_weights"),
    *("weight_function", "bias_function", "weight_lowvram_function", "bias_lowvram_function"),
)
"""Attributes that the host sets on loaded modules: they control weight loading and own native memory."""


class HostNetworks(NamedTuple):
    """The networks wired to a node.

    Attributes:
        vae: a VAE or None.
        clip_vision: a CLIP_VISION or None.
    """

    vae: Any = None
    clip_vision: Any = None


def image_spaces() -> list[str]:
    """Names of the feature spaces of images that are available now."""
    return [*IMAGE_SPACES, *vision_folders()]


def spaces() -> list[str]:
    """Names of all available feature spaces."""
    return [LATENTS, PREVIEW, *image_spaces()]


def choose_features(kind: str, model: Any, networks: HostNetworks) -> MakeFeatures:
    """The feature space of a widget's value, for runs of a MODEL.

    Args:
        kind: one of ``spaces()``.
        model: a MODEL, which is not kept.
        networks: that are connected.

    Raises:
        ValueError: a network is missing or does not fit the model.
    """
    latent_format, name = model.model.latent_format, format_of(model)
    if kind == LATENTS:
        return latent_layout()
    shows_content = kind in (CLIP_VISION, CONTENT) or is_folder_space(kind)
    if kind == CLIP_VISION:
        _check_clip_vision(networks.clip_vision)
    elif is_folder_space(kind):
        check_vision_folder(kind)
    if kind == PREVIEW or (shows_content and networks.vae is None):
        _check_preview(latent_format)
    else:
        _check_vae(networks.vae, latent_format, kind)

    def make(run: SamplingRun) -> LatentFeatures:
        with torch.inference_mode(False):
            if kind == PREVIEW:
                return LatentFeatures(_preview(latent_format, name, RandomNetwork()), one_frame=True)
            space = image_space(kind, networks.clip_vision, run.device)
            if networks.vae is None:
                return LatentFeatures(space, _preview(latent_format, name, space).preview)
            decode = _decoder(networks.vae, latent_format, run.device)
            area = torch.Size(run.latent_shape[-2:]).numel()
            return LatentFeatures(space, decode, max(1, DECODED_LATENTS // area))

    return make


def image_space(kind: str, clip_vision: Any, device: torch.device) -> FeatureSpace:
    """The feature space of images of a widget's value.

    Args:
        kind: one of ``image_spaces()``.
        clip_vision: a CLIP_VISION where the kind needs one.
        device: where to compute.

    Raises:
        ValueError: the CLIP_VISION is missing or of an unknown kind, or there is no such model folder.
    """
    # Weights that are made here must allow gradients.
    with torch.inference_mode(False):
        if kind == "random network":
            return RandomNetwork()
        if kind == "colour layout":
            return ColourLayout()
        if kind == CONTENT:
            return ContentNetwork(device)
        if is_folder_space(kind):
            return vision_folder_space(kind, device)
        _check_clip_vision(clip_vision)
        return _clip_space(clip_vision, device)


def image_features(kind: str, clip_vision: Any, images: Tensor, count: int) -> dict[str, Tensor]:
    """Features of finished images by the tag of their space, for a bank.

    Args:
        kind: one of ``image_spaces()``.
        clip_vision: a CLIP_VISION where the kind needs one.
        images: (count * frames, H, W, C) in 0..1; a video is represented by its middle frame.
        count: number of latents that they were decoded from.

    Raises:
        ValueError: the images do not belong to the latents, or the CLIP_VISION is missing or of an unknown kind.
    """
    if not len(images) or len(images) % count:
        raise ValueError(f"There are {len(images)} images for {count} latents. Connect the decoded samples.")
    frames = len(images) // count
    middle = rgb_images(images)[frames // 2 :: frames]
    space = image_space(kind, clip_vision, comfy.model_management.get_torch_device())
    with torch.no_grad():
        return {space.tag: torch.cat([space(image[None]) for image in middle]).cpu()}


def _preview(latent_format: Any, name: str, images: FeatureSpace) -> LatentPreview:
    bias = latent_format.latent_rgb_factors_bias
    return LatentPreview(
        name,
        torch.tensor(latent_format.latent_rgb_factors),
        None if bias is None else torch.tensor(bias),
        images,
    )


def _decoder(vae: Any, latent_format: Any, device: torch.device) -> Decode:
    vae.throw_exception_if_invalid()
    network = _own_copy(vae.first_stage_model, device)
    to_raw = _own_format(latent_format).process_out
    of_videos = vae.latent_dim == 3
    to_image = vae.process_output

    def decode(latents: Tensor) -> Tensor:
        # A video format maps single frames too, but needs the time axis.
        raw = to_raw(latents.unsqueeze(2)) if latent_format.latent_dimensions == 3 else to_raw(latents)
        if raw.ndim == 4 and of_videos:
            raw = raw.unsqueeze(2)
        elif raw.ndim == 5 and not of_videos:
            raw = raw[:, :, 0]
        with _saved_apart(network):
            images = to_image(network.decode(raw).float())
        return images[:, :, 0] if images.ndim == 5 else images

    return decode


def _clip_space(clip_vision: Any, device: torch.device) -> FeatureSpace:
    network = _own_copy(clip_vision.model, device)
    size = _input_side(clip_vision)
    mean, spread = (
        torch.tensor(each, device=device)[:, None, None] for each in (clip_vision.image_mean, clip_vision.image_std)
    )

    def encode(images: Tensor) -> Tensor:
        # The host's own preprocessing rounds to 8 bits, which stops gradients.
        scaled = interpolate(images.to(device), (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        with _saved_apart(network):
            features = network(pixel_values=(scaled - mean) / spread, intermediate_output=-2)[2]
        # Networks without a class token, such as SigLIP, give a vector per patch.
        return features.mean(1) if features.ndim == 3 else features

    with torch.no_grad():
        dimension = encode(torch.full((1, 3, size, size), 0.5)).shape[-1]
    return Encoder(encode, f"clip-vision-v1:{_weights_name(network)}", dimension, differentiable=True)


def _own_copy(network: Any, device: torch.device) -> Any:
    """A float32 copy of a loaded network; the host frees memory for it."""
    weights = [*network.parameters(), *network.buffers()]
    comfy.model_management.free_memory(sum(4 * weight.numel() for weight in weights), device)
    return network_copy(network, device, LOADER_STATE)


def _own_format(latent_format: Any) -> Any:
    """A copy of a latent format whose tensors allow gradients."""
    own = copy.copy(latent_format)
    for name, value in vars(latent_format).items():
        if isinstance(value, Tensor):
            setattr(own, name, value.clone())
    return own


def _input_side(clip_vision: Any) -> int:
    """Side in pixels of the square image that a CLIP vision model takes."""
    if clip_vision.image_size > 0:
        return int(clip_vision.image_size)
    config = getattr(clip_vision, "config", {})
    if not config.get("patch_size") or not config.get("num_patches"):
        raise ValueError(
            "This clip_vision does not say what image size it takes, so it cannot be used here. Choose another one."
        )
    # NaFlex takes any shape up to this number of patches.
    return int(config["patch_size"]) * math.isqrt(int(config["num_patches"]))


def _saved_apart(network: torch.nn.Module) -> torch.autograd.graph.saved_tensors_hooks:
    """A context that copies what autograd saves, except weights: the host's networks change activations in place."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def pack(saved: Tensor) -> Tensor:
        return saved if saved.untyped_storage().data_ptr() in weights else saved.clone()

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept)


def _weights_name(network: torch.nn.Module) -> str:
    """Twelve digits that identify a network by its weights, on every device and in every precision."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        if weight.numel() <= HASHED_NUMBERS:
            digest.update(weight.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _check_preview(latent_format: Any) -> None:
    unusual = getattr(latent_format, "latent_rgb_factors_reshape", None)
    if latent_format.latent_rgb_factors is None or unusual is not None:
        raise ValueError(
            f"ComfyUI has no linear preview of {type(latent_format).__name__} latents. Connect vae, or choose latents."
        )


def _check_vae(vae: Any, latent_format: Any, kind: str) -> None:
    if vae is None:
        raise ValueError(f'The features "{kind}" need decoded images. Connect vae; a TAESD is fastest.')
    if vae.latent_channels != latent_format.latent_channels:
        raise ValueError(
            f"The vae decodes latents of {vae.latent_channels} channels and this model's have "
            f"{latent_format.latent_channels}. Connect the model's own VAE, or a TAESD for it."
        )


def _check_clip_vision(clip_vision: Any) -> None:
    if clip_vision is None:
        raise ValueError('The features "clip vision" need a CLIP vision model. Connect clip_vision, or choose others.')
    if not all(hasattr(clip_vision, name) for name in ("model", "image_size", "image_mean", "image_std")):
        raise ValueError(
            f"This clip_vision ({type(clip_vision).__name__}) is not one of ComfyUI's own. Use Load CLIP Vision."
        )
