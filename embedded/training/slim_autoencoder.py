"""A narrow TAESD: quick enough to train on a CPU, and exported into TAESD's full layout by padding with zeros.

Unused channels are zero and unused residual blocks are exact identities, so the padded network computes the same
function. Layer numbers are TAESD's, hence the state dict has TAESD's keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LATENT_CHANNELS = 16
CLAMP = 3.0


@dataclass(frozen=True)
class Shape:
    """Width and number of residual blocks at each resolution, from the full one to the latent's."""

    widths: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]


FULL_SHAPE = Shape(widths=(64, 64, 64, 64), blocks=(1, 3, 3, 3))
ENCODER_SHAPE = Shape(widths=(16, 48, 64, 64), blocks=(0, 1, 2, 2))
DECODER_SHAPE = Shape(widths=(32, 48, 64, 64), blocks=(1, 3, 3, 3))


class Clamp(nn.Module):
    """TAESD's soft clamp of the latent."""

    def forward(self, latent: Tensor) -> Tensor:
        """The latent (B, C, H, W), squashed into -3..3."""
        return torch.tanh(latent / CLAMP) * CLAMP


class Block(nn.Module):
    """Residual block; its last convolution starts at zero, which makes normalisation unnecessary."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, last = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Features (B, width, H, W) of the same shape."""
        return (self.conv(hidden) + hidden).relu()


def slim_encoder(shape: Shape = ENCODER_SHAPE) -> nn.Sequential:
    """Images (B, 3, H, W) in 0..1 to latents (B, 16, H / 8, W / 8)."""
    layers: list[nn.Module] = [nn.Conv2d(3, shape.widths[0], 3, padding=1)]
    layers += _blocks(shape, 0)
    for stage in (1, 2, 3):
        widths = shape.widths[stage - 1], shape.widths[stage]
        layers += [nn.Conv2d(*widths, 3, stride=2, padding=1, bias=False), *_blocks(shape, stage)]
    layers.append(nn.Conv2d(shape.widths[3], LATENT_CHANNELS, 3, padding=1))
    return nn.Sequential(*layers)


def slim_decoder(shape: Shape = DECODER_SHAPE) -> nn.Sequential:
    """Latents (B, 16, H, W) to images (B, 3, 8 H, 8 W), about in 0..1."""
    layers: list[nn.Module] = [Clamp(), nn.Conv2d(LATENT_CHANNELS, shape.widths[3], 3, padding=1), nn.ReLU()]
    for stage in (3, 2, 1):
        widths = shape.widths[stage], shape.widths[stage - 1]
        layers += [*_blocks(shape, stage), nn.Upsample(scale_factor=2)]
        layers.append(nn.Conv2d(*widths, 3, padding=1, bias=False))
    layers += [*_blocks(shape, 0), nn.Conv2d(shape.widths[0], 3, 3, padding=1)]
    return nn.Sequential(*layers)


def _blocks(shape: Shape, stage: int) -> list[nn.Module]:
    """The residual blocks of a resolution; a ReLU is what a block without a residual does."""
    width, used = shape.widths[stage], shape.blocks[stage]
    return [Block(width) if place < used else nn.ReLU() for place in range(FULL_SHAPE.blocks[stage])]


def pad_state(slim: nn.Module, full: nn.Module) -> dict[str, Tensor]:
    """The slim network's parameters in the shapes of the full one, zero elsewhere."""
    trained = slim.state_dict()
    padded = {}
    for key, value in full.state_dict().items():
        padded[key] = torch.zeros_like(value)
        if key in trained:
            padded[key][tuple(slice(size) for size in trained[key].shape)] = trained[key]
    return padded


@torch.no_grad()
def restore(slim: nn.Sequential, padded: dict[str, Tensor]) -> None:
    """Take up the channels that a padded state uses; what the slim network has beyond them changes nothing yet.

    Additional channels keep their random inputs but feed nothing yet (a Net2Net widening with silent outputs, arXiv
    1511.05641); additional blocks are identities by their zero last convolution.

    Raises:
        ValueError: the padded state uses more than the slim network has.
    """
    for key, fresh in slim.state_dict().items():
        stored = padded[key].to(fresh)
        inside = tuple(slice(size) for size in fresh.shape)
        if stored.count_nonzero() != stored[inside].count_nonzero():
            raise ValueError(f"{key} uses more channels than the shape {tuple(fresh.shape)} has: widen the network.")
        stored = stored[inside]
        used = padded[f"{key.rpartition('.')[0]}.weight"][: len(fresh)].flatten(1).any(1)
        fresh[used] = stored[used]
