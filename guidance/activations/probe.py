"""Measure activation means: channel means of a denoiser's layers on noised images (arXiv 2410.11646)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...kernels.centroids import channel_means, joint_principal_rows
from ...stores.centroid.centroid import MAX_VARIATIONS, FeatureCentroid, ModelFingerprint
from ...stores.centroid.noise import FeatureNoise
from .layers import Layer

SAMPLED_WEIGHTS = 512
PARAMETERS_SAMPLED = 64


class ActivationReader:
    """Collects activation means; ``visit`` is for ``LayerHooks``.

    Images come in groups. A group may be evaluated several times at a level, with other noise or another prompt, and
    its means are averaged. Evaluations with independent noise for each image are collected separately.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[bool, int, str], dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        self._sizes: dict[int, int] = {}
        self._place: tuple[bool, int, int] | None = None

    def expect(self, level: int, group: int, size: int, *, own_noise: bool = False) -> None:
        """Announce the next evaluation.

        Args:
            level: index of its noise level.
            group: number of the group of images.
            size: number of images in the group.
            own_noise: whether each image has a noise of its own instead of the common one.
        """
        self._place = own_noise, level, group
        self._sizes[group] = size

    def visit(self, layer: Layer, image: Tensor) -> Tensor:
        """Record the activation means of one layer; changes nothing."""
        if self._place is not None:
            own_noise, level, group = self._place
            self._rows[own_noise, level, layer.name][group].append(channel_means(image, layer.channel_axis).cpu())
        return image

    def activation_means(self, *, own_noise: bool = False) -> dict[str, Tensor]:
        """The activation means by layer, shape (S, N, C): noise levels, images, channels.

        Args:
            own_noise: those of evaluations with a noise for each image.

        Raises:
            ValueError: nothing was recorded.
        """
        if not self._rows:
            raise ValueError(
                "None of the chosen layers ran. Choose others, or remove the nodes that replace or skip blocks of the "
                "model."
            )
        found = [(level, name) for own, level, name in self._rows if own == own_noise]
        levels = sorted({level for level, _ in found})
        names = list(dict.fromkeys(name for _, name in found))
        return {name: torch.stack([self._images(own_noise, level, name) for level in levels]) for name in names}

    def _images(self, own_noise: bool, level: int, name: str) -> Tensor:
        groups = self._rows[own_noise, level, name]
        means = [torch.cat(rows).unflatten(0, (-1, self._sizes[group])).mean(0) for group, rows in groups.items()]
        return torch.cat(means)


def common_noises(shape: Sequence[int], count: int, seed: int) -> list[Tensor]:
    """Noises for exemplars, the same for every image of every group, in antithetic pairs.

    At high noise levels groups differ far less than two noises do, so that only means under the same noise compare.

    Args:
        shape: (C, ...) of one image's latents.
        count: number of noises.
        seed: of the noise.

    Returns:
        Tensors (1, C, ...), float32, on the CPU.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    half = [torch.randn((1, *shape), generator=generator) for _ in range((count + 1) // 2)]
    return [sign * noise for noise in half for sign in (1, -1)][:count]


def own_noises(shape: Sequence[int], levels: int, seed: int, group: int = 0) -> Iterator[Tensor]:
    """Independent noise for each image, which shows how far noise alone moves activation means.

    Args:
        shape: (N, C, ...) of a group of latents.
        levels: number of noise levels, each with another noise.
        seed: of the noise.
        group: number of the group.

    Yields:
        Tensors of that shape, float32, on the CPU.
    """
    generator = torch.Generator("cpu").manual_seed((seed + 1 + group) % 2**63)
    for _ in range(levels):
        yield torch.randn(tuple(shape), generator=generator)


def probe_inputs(
    reader: ActivationReader, shape: Sequence[int], levels: int, noises: int, seed: int, group: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Levels and noises at which to evaluate a group of images, each announced to the reader.

    Args:
        reader: collects the activation means.
        shape: (N, C, ...) of the group's latents.
        levels: number of noise levels.
        noises: number of common noises for each level; one more is independent for each image.
        seed: of the noise.
        group: number of the group.

    Yields:
        Index of the level, and noise (1 or N, C, ...), float32, on the CPU.
    """
    common = common_noises(shape[1:], noises, seed % 2**63)
    for level, own in enumerate(own_noises(shape, levels, seed, group)):
        for noise in (*common, own):
            reader.expect(level, group, shape[0], own_noise=noise is own)
            yield level, noise


def make_centroid(
    activation_means: Mapping[str, Tensor],
    name: str,
    sigmas: Tensor,
    fingerprint: ModelFingerprint,
    latent_format: str,
    own_noise: Mapping[str, Tensor] | None = None,
) -> FeatureCentroid:
    """The centroid of images.

    Args:
        activation_means: by layer, shape (S, N, C).
        name: of the group.
        sigmas: noise levels, shape (S,), descending.
        fingerprint: of the model.
        latent_format: of the model.
        own_noise: activation means under independent noise, in the same shapes; None if the effect of noise is unknown.
    """
    spread = {layer: rows.std(1, correction=1 if rows.shape[1] > 1 else 0) for layer, rows in activation_means.items()}
    means = {layer: rows.mean(1) for layer, rows in activation_means.items()}
    count = next(iter(activation_means.values())).shape[1]
    deviations = {layer: _deviations(rows) for layer, rows in activation_means.items()}
    variations = joint_principal_rows(deviations, MAX_VARIATIONS)
    noises = {layer: FeatureNoise.of(rows - activation_means[layer]) for layer, rows in (own_noise or {}).items()}
    return FeatureCentroid(
        name, fingerprint, latent_format, sigmas.float().cpu(), means, spread, count, variations, noises
    )


def network_fingerprint(network: nn.Module, layers: Sequence[Layer]) -> ModelFingerprint:
    """Fingerprint of a network: its class, its layers, and numbers from its biases and scales.

    These parameters have one axis: quantised copies keep them in full precision, and adapters do not change them.
    """
    small = [(name, value) for name, value in network.named_parameters() if value.ndim == 1 and value.numel() > 1]
    chosen = small[:: max(len(small) // PARAMETERS_SAMPLED, 1)][:PARAMETERS_SAMPLED]
    each = max(SAMPLED_WEIGHTS // max(len(chosen), 1), 1)
    numbers = [_standardised(value.detach()[:each].float().cpu()) for _, value in chosen]
    shapes = [f"{name}:{value.numel()}" for name, value in chosen]
    architecture = "|".join([type(network).__name__, *(layer.name for layer in layers), *shapes])
    return ModelFingerprint(architecture, torch.cat(numbers) if numbers else torch.zeros(0))


def _deviations(rows: Tensor) -> Tensor:
    """Rows (N, C), averaged over levels, whose second moment is the covariance of the images in (S, N, C)."""
    deviations = (rows - rows.mean(1, keepdim=True)).mean(0)
    return deviations / max(len(deviations) - 1, 1) ** 0.5


def _standardised(values: Tensor) -> Tensor:
    """Standardise a parameter, so that all have equal weight; constant ones become zero."""
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if float(spread) > 1e-6 else torch.zeros_like(values)
