"""Find the layers of a denoiser, a UNet or transformer, and the image's part of their outputs.

A layer is a block of the network. Transformers also carry the text, beside the image or in one sequence with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """A list of blocks that several architectures share.

    Attributes:
        blocks: name of the list in the network.
        item: index of the image in a block's tuple; None if a block returns one tensor.
        image_position: of the image in a sequence shared with the text: "first" or "last"; None if it is alone.
        counted_by: name of the list whose blocks tell how many tokens are the image's.
    """

    blocks: str
    item: int | None = None
    image_position: str | None = None
    counted_by: str | None = None


FAMILIES = (
    Family("joint_blocks", item=1),  # Stable Diffusion 3
    Family("double_blocks", item=0),  # Flux, Chroma, HunyuanVideo
    Family("single_blocks", image_position="last", counted_by="double_blocks"),
    Family("double_layers", item=1),  # AuraFlow
    Family("single_layers", image_position="last", counted_by="double_layers"),
    Family("transformer_blocks", item=1),  # Qwen-Image; LTX-Video, which returns the image alone; diffusers
    Family("noise_refiner"),  # Lumina, Z-Image
    Family("layers", image_position="last", counted_by="noise_refiner"),
    Family("blocks"),  # Wan, PixArt, HunyuanDiT, Cosmos
)
UNET_LISTS = ("input_blocks", "middle_block", "output_blocks")
TEXT_LAST = ("HunyuanVideo",)
"""Networks that put the image before the text, unlike all others."""

COMPILED = (
    "This model is compiled, and a compiled network does not show its layers. Remove the compile node, or put "
    "Feature Guidance on a model that is not compiled."
)
"""The error for compiled models."""


@dataclass(frozen=True)
class Layer:
    """A layer of the network.

    Attributes:
        name: such as "joint_blocks.2".
        module: the block.
        family: tells the image's part of its output.
        channel_axis: 1 for maps (B, C, H, W), -1 for tokens (B, N, C).
    """

    name: str
    module: nn.Module
    family: Family
    channel_axis: int

    def image(self, output: Any, count: int | None) -> Tensor | None:
        """The image's part of an output, shape (B, C, ...) or (B, ..., C); None if the output has another form.

        Args:
            output: of the module.
            count: number of the image's tokens in a shared sequence.
        """
        value = output
        if isinstance(output, (tuple, list)):
            place = self.family.item
            value = output[place] if place is not None and place < len(output) else None
        if not isinstance(value, Tensor) or value.ndim < 3:
            return None
        if self.family.image_position is None:
            return value
        if count is None or count > value.shape[1]:
            return None
        return value[:, :count] if self.family.image_position == "first" else value[:, value.shape[1] - count :]

    def replaced(self, output: Any, image: Tensor) -> Any:
        """A copy of the output with the image's part replaced."""
        if isinstance(output, (tuple, list)):
            place = self.family.item
            return type(output)(image if index == place else value for index, value in enumerate(output))
        if self.family.image_position is None:
            return image
        changed = output.clone()
        count = image.shape[1]
        if self.family.image_position == "first":
            changed[:, :count] = image
        else:
            changed[:, changed.shape[1] - count :] = image
        return changed


def find_layers(network: nn.Module) -> tuple[Layer, ...]:
    """All layers of a denoiser, in the order in which they run.

    Raises:
        ValueError: it has no known blocks, such as an engine compiled ahead of time.
    """
    if isinstance(getattr(network, "input_blocks", None), nn.ModuleList):
        return tuple(_unet_layers(network))
    lists = {family.blocks: getattr(network, family.blocks, None) for family in FAMILIES}
    swapped = type(network).__name__ in TEXT_LAST
    found: list[Layer] = []
    for family in FAMILIES:
        blocks = lists[family.blocks]
        if not isinstance(blocks, (nn.ModuleList, nn.ModuleDict)) or (
            family.counted_by is not None and not lists[family.counted_by]
        ):
            continue
        if swapped and family.image_position == "last":
            family = Family(family.blocks, family.item, "first", family.counted_by)
        found += [Layer(f"{family.blocks}.{key}", block, family, -1) for key, block in blocks.named_children()]
    if not found:
        raise ValueError(
            f"This model ({type(network).__name__}) has no blocks that can be read: it is compiled to an engine, or "
            "its architecture is unknown. Load its ordinary weights, or leave this node out."
        )
    return tuple(found)


def select_layers(layers: Sequence[Layer], wanted: str) -> dict[str, float]:
    """Parse a selection of layers: names and weights, in the order of the network.

    Args:
        layers: of the network.
        wanted: "all", "middle" (the middle third, or a UNet's middle block), or names separated by commas, such as
            "joint_blocks.1, joint_blocks.4-9 = 0.5": ranges are inclusive, and the default weight is 1.

    Raises:
        ValueError: the text cannot be parsed, or names a layer that the network does not have.
    """
    names = [layer.name for layer in layers]
    weights: dict[str, float] = {}
    for part in wanted.split(","):
        text, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            raise ValueError(
                f"The weight of the layers {text!r} is not a number: {number!r}. Write 0.5, for example."
            ) from None
        for name in _expanded(text, names):
            if name not in names:
                raise ValueError(f"This model has no layer {name!r}. It has: {summarise_layers(names)}.")
            weights[name] = weight
    return {name: weights[name] for name in names if name in weights}


def summarise_layers(names: Sequence[str]) -> str:
    """Names of layers with ranges contracted: "joint_blocks.0-23"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        stem, _, number = name.rpartition(".")
        groups.setdefault(stem or number, []).append(number)
    return ", ".join(_range_text(stem, numbers) for stem, numbers in groups.items())


def check_readable(network: nn.Module) -> None:
    """Check that hooks on a network's layers will be called.

    Raises:
        ValueError: it is compiled, or its weights are not in this process.
    """
    for module in network.modules():
        compiled: Callable[..., Any] | None = getattr(module, "_compiled_call_impl", None)
        if hasattr(module, "_orig_mod") or compiled is not None:
            raise ValueError(COMPILED)
    if any(parameter.is_meta for parameter in network.parameters()):
        raise ValueError(
            "The weights of this model are offloaded outside this process. Load it with ComfyUI's own loader, whose "
            "offloading works."
        )


def _unet_layers(network: nn.Module) -> list[Layer]:
    """The last module of every step: the host calls a step's modules one by one and never the step itself."""
    found = []
    for blocks in UNET_LISTS:
        steps = getattr(network, blocks, None)
        if steps is None:
            continue
        named = [(blocks, steps)] if blocks == "middle_block" else [(f"{blocks}.{i}", s) for i, s in enumerate(steps)]
        found += [Layer(name, step[-1], Family(blocks), 1) for name, step in named]
    return found


def _expanded(text: str, names: Sequence[str]) -> list[str]:
    if text == "all":
        return list(names)
    if text == "middle":
        if "middle_block" in names:
            return ["middle_block"]
        return list(names[len(names) // 3 : max(-(-2 * len(names) // 3), len(names) // 3 + 1)])
    match = re.fullmatch(r"([\w.]+\.)(\d+)-(\d+)", text)
    if match is None:
        return [text]
    stem, first, last = match.group(1), int(match.group(2)), int(match.group(3))
    return [f"{stem}{number}" for number in range(first, last + 1)] or [text]


def _range_text(stem: str, numbers: Sequence[str]) -> str:
    if numbers == [stem]:
        return stem
    return f"{stem}.{numbers[0]}" if len(numbers) == 1 else f"{stem}.{numbers[0]}-{numbers[-1]}"
