"""How well images fit a prompt, by the two halves of a CLIP (arXiv 2103.00020)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...features.space import unit_vectors
from .encoders import CLIP_VISION, image_features


def prompt_fit(images: Tensor, prompt: str, clip: Any, clip_vision: Any) -> Tensor:
    """Cosine similarities (B,) of images (B, H, W, C) and a prompt.

    Raises:
        ValueError: the text encoder gives no embedding of a whole text, or one of another length than the images'.
    """
    _, text = clip.encode_from_tokens(clip.tokenize(prompt), return_pooled=True)
    (seen,) = image_features(CLIP_VISION, clip_vision, images, len(images)).values()
    if not isinstance(text, Tensor) or text.shape[-1] != seen.shape[-1]:
        held = text.shape[-1] if isinstance(text, Tensor) else 0
        raise ValueError(
            f"This CLIP gives a prompt as {held} numbers, and this clip_vision an image as {seen.shape[-1]}, so "
            "they do not belong together: connect both halves of one CLIP, such as clip_g and CLIP-ViT-bigG."
        )
    return seen @ unit_vectors(text.detach().reshape(-1, text.shape[-1])[:1].cpu())[0]
