"""A CONDITIONING as one vector: a prompt's embedding by the model's own text encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...guidance.prompts import EncodedPrompt


def encoded_prompt(conditioning: Any) -> EncodedPrompt:
    """The pooled vector of a CONDITIONING or, without one, the mean of its tokens; of several, the mean.

    Raises:
        ValueError: it is empty, holds prompts of several text encoders, or is not finite.
    """
    vectors = [_vector(tokens, facts) for tokens, facts in conditioning]
    sizes = {tuple(vector.shape) for vector in vectors}
    if len(sizes) != 1:
        raise ValueError(
            "The conditioning is empty, or holds prompts of several text encoders. Connect that of one prompt."
        )
    vector = torch.stack(vectors).mean(0)
    if not vector.isfinite().all():
        raise ValueError("The conditioning holds NaN or infinity, so it says nothing about a prompt.")
    pooled = "pooled" if conditioning[0][1].get("pooled_output") is not None else "tokens"
    return EncodedPrompt(vector[None], f"conditioning-v1:{pooled}:{len(vector)}")


def _vector(tokens: Tensor, facts: dict[str, Any]) -> Tensor:
    pooled = facts.get("pooled_output")
    if pooled is not None:
        return pooled.detach().float().cpu().flatten(0, -2).mean(0)
    rows = tokens.detach().float().cpu().flatten(0, -2)
    mask = facts.get("attention_mask")
    if mask is not None and mask.numel() == len(rows) and mask.any():
        rows = rows[mask.flatten().bool().cpu()]
    return rows.mean(0)
