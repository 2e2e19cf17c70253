"""Reading features: channel means of a denoiser's layers while it looks at noised images (arXiv 2410.11646)."""

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


class FeatureReader:
    """Collects features; its ``visit`` is for ``LayerHooks``.

    Images may come in groups, and a group may be looked at several times at a level, with other noise or under
    another prompt: its features are the mean over all that. Looks through noise of the images' own are kept apart.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[bool, int, str], dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        self._sizes: dict[int, int] = {}
        self._place: tuple[bool, int, int] | None = None

    def look(self, level: int, group: int, size: int, *, own_noise: bool = False) -> None:
        """Say at which level of the grid the next evaluation is, at which group of how many images, and whether
        each is seen through a noise of its own instead of the common one."""
        self._place = own_noise, level, group
        self._sizes[group] = size

    def visit(self, layer: Layer, image: Tensor) -> Tensor:
        """Note the channel means of one layer; changes nothing."""
        if self._place is not None:
            own_noise, level, group = self._place
            self._rows[own_noise, level, layer.name][group].append(channel_means(image, layer.channel_axis).cpu())
        return image

    def features(self, *, own_noise: bool = False) -> dict[str, Tensor]:
        """What was read, by layer, shape (S, N, C): noise levels, images, channels.

        Args:
            own_noise: through noise of the images' own, instead of the common one.

        Raises:
            ValueError: nothing was read.
        """
        if not self._rows:
            raise ValueError(
                "None of the chosen layers ran. Choose others, or take nodes that replace or skip blocks of the model "
                "off it."
            )
        looks = [(level, name) for own, level, name in self._rows if own == own_noise]
        levels = sorted({level for level, _ in looks})
        names = list(dict.fromkeys(name for _, name in looks))
        return {name: torch.stack([self._pictures(own_noise, level, name) for level in levels]) for name in names}

    def _pictures(self, own_noise: bool, level: int, name: str) -> Tensor:
        groups = self._rows[own_noise, level, name]
        means = [torch.cat(rows).unflatten(0, (-1, self._sizes[group])).mean(0) for group, rows in groups.items()]
        return torch.cat(means)


def common_noises(shape: Sequence[int], draws: int, seed: int) -> list[Tensor]:
    """Noise for exemplars to be looked at through: the same for every image of every group, and in opposite pairs.

    At high noise levels groups differ by far less than two draws of noise do, so that centroids compare only what was
    seen through the same noise.

    Args:
        shape: (C, ...) of one image's latents.
        draws: how many.
        seed: of the noise.

    Returns:
        Tensors (1, C, ...), float32, on the CPU.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    half = [torch.randn((1, *shape), generator=generator) for _ in range((draws + 1) // 2)]
    return [sign * noise for noise in half for sign in (1, -1)][:draws]


def own_noises(shape: Sequence[int], levels: int, seed: int, group: int = 0) -> Iterator[Tensor]:
    """Noise of the images' own, from which a centroid learns how far noise alone moves features.

    Args:
        shape: (N, C, ...) of a group of latents.
        levels: how many noise levels, each with another noise.
        seed: of the noise.
        group: number of the group.

    Yields:
        Tensors of that shape, float32, on the CPU.
    """
    generator = torch.Generator("cpu").manual_seed((seed + 1 + group) % 2**63)
    for _ in range(levels):
        yield torch.randn(tuple(shape), generator=generator)


def looks(
    reader: FeatureReader, shape: Sequence[int], levels: int, draws: int, seed: int, group: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """What a group of images is to be looked at through, each announced to the reader before it is given.

    Args:
        reader: collects what the network shows.
        shape: (N, C, ...) of the group's latents.
        levels: how many noise levels.
        draws: of the common noise, for each level; one more is the images' own.
        seed: of the noise.
        group: number of the group.

    Yields:
        Number of the level, and noise (1 or N, C, ...), float32, on the CPU.
    """
    common = common_noises(shape[1:], draws, seed % 2**63)
    for level, own in enumerate(own_noises(shape, levels, seed, group)):
        for noise in (*common, own):
            reader.look(level, group, shape[0], own_noise=noise is own)
            yield level, noise


def centroid_of(
    features: Mapping[str, Tensor],
    name: str,
    sigmas: Tensor,
    fingerprint: ModelFingerprint,
    latent_format: str,
    own_noise: Mapping[str, Tensor] | None = None,
) -> FeatureCentroid:
    """The centroid of images.

    Args:
        features: by layer, shape (S, N, C).
        name: of the group.
        sigmas: noise levels, shape (S,), descending.
        fingerprint: of the model.
        latent_format: of the model.
        own_noise: the same features through noise of the images' own, alike; without it the centroid does not know
            what noise does.
    """
    spread = {layer: rows.std(1, correction=1 if rows.shape[1] > 1 else 0) for layer, rows in features.items()}
    means = {layer: rows.mean(1) for layer, rows in features.items()}
    count = next(iter(features.values())).shape[1]
    deviations = {layer: _deviations(rows) for layer, rows in features.items()}
    variations = joint_principal_rows(deviations, MAX_VARIATIONS)
    noises = {layer: FeatureNoise.of(rows - features[layer]) for layer, rows in (own_noise or {}).items()}
    return FeatureCentroid(
        name, fingerprint, latent_format, sigmas.float().cpu(), means, spread, count, variations, noises
    )


def fingerprint_of(network: nn.Module, layers: Sequence[Layer]) -> ModelFingerprint:
    """By what this network is known again: its class, its layers and numbers from its biases and scales.

    Those have one axis: quantised copies keep them in full precision, and adapters leave them alone.
    """
    small = [(name, value) for name, value in network.named_parameters() if value.ndim == 1 and value.numel() > 1]
    chosen = small[:: max(len(small) // PARAMETERS_SAMPLED, 1)][:PARAMETERS_SAMPLED]
    each = max(SAMPLED_WEIGHTS // max(len(chosen), 1), 1)
    numbers = [_standardised(value.detach()[:each].float().cpu()) for _, value in chosen]
    shapes = [f"{name}:{value.numel()}" for name, value in chosen]
    architecture = "|".join([type(network).__name__, *(layer.name for layer in layers), *shapes])
    return ModelFingerprint(architecture, torch.cat(numbers) if numbers else torch.zeros(0))


def _deviations(rows: Tensor) -> Tensor:
    """Rows (N, C), averaged over levels, whose second moments are the covariance of the images in (S, N, C)."""
    deviations = (rows - rows.mean(1, keepdim=True)).mean(0)
    return deviations / max(len(deviations) - 1, 1) ** 0.5


def _standardised(values: Tensor) -> Tensor:
    """So that every parameter has the same say; what is constant, as scales of 1 are, says nothing."""
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if float(spread) > 1e-6 else torch.zeros_like(values)
