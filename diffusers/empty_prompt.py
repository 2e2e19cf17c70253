"""The denoiser without the prompt, in runs without classifier-free guidance: what prompt easing asks for."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from .families import Family

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a denoiser's call."""

ADDED = "added_cond_kwargs"
"""Stable Diffusion XL's argument that holds further ones."""


class EmptyPrompt:
    """The negative prompt as a pipeline encodes it.

    Args:
        pipe: the pipeline.
        family: of the pipeline.
        text: the negative prompt.
    """

    def __init__(self, pipe: Any, family: Family, text: str) -> None:
        encode = pipe.encode_prompt
        known = inspect.signature(encode).parameters
        given = {"prompt": text, "prompt_2": None, "prompt_3": None, "device": pipe._execution_device}
        given |= {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        found = encode(**{name: value for name, value in given.items() if name in known})
        self._encoded = {
            name: value for name, value in zip(family.encoded, found, strict=False) if name and value is not None
        }
        self._missing = [name for name, value in zip(family.encoded, found, strict=False) if name and value is None]

    def instead(self, call: Call) -> Call:
        """The call with the negative prompt in place of the prompt."""
        args, given = call
        kwargs: dict[str, Any] = {**given, **{name: None for name in self._missing if name in given}}
        for name, value in self._encoded.items():
            if isinstance(value, list):  # Z-Image, which is given a list of prompts by its place
                args = (*args[:2], value * len(args[2]), *args[3:])
            elif name in kwargs:
                kwargs[name] = _rows(value, kwargs[name])
            else:
                kwargs[ADDED] = {**kwargs[ADDED], name: _rows(value, kwargs[ADDED][name])}
        return args, kwargs


def _rows(value: Tensor, like: Tensor | None) -> Tensor:
    """One encoded prompt for every row of a batch; positions of tokens have no rows."""
    if like is None or like.ndim != value.ndim or (value.ndim == 2 and value.shape == like.shape):
        return value
    return value.expand(len(like), *value.shape[1:]) if len(value) == 1 else value
