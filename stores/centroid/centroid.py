"""Feature centroids: means of a denoiser's activations over a group of images.

From arXiv 2410.11646: the centroid of a class is the mean activation of its members at the same noise level. One
safetensors file holds one centroid with everything that is needed to use it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..files import read_own, write_whole
from .noise import FeatureNoise

FORMAT = "diversity_guidance.feature_centroid.2"
SAME_MODEL = 0.9
"""Correlation of weights from which two networks count as the same model: fine-tunes reach it, other models do not."""

MAX_VARIATIONS = 32
"""Principal rows kept of the differences between exemplars."""


class OtherModelError(ValueError):
    """A centroid does not belong to the model."""


@dataclass(frozen=True)
class ModelFingerprint:
    """Identifies a model in any precision.

    Attributes:
        architecture: the network's class and its layers' widths, as text.
        weights: some of its weights, shape (n,), float32.
    """

    architecture: str
    weights: Tensor

    def matches(self, other: ModelFingerprint) -> bool:
        """Whether activations mean the same in both models."""
        if self.architecture != other.architecture or self.weights.shape != other.weights.shape:
            return False
        if torch.equal(self.weights, other.weights):
            return True
        one, two = (weights - weights.mean() for weights in (self.weights, other.weights))
        length = one.norm() * two.norm()
        return bool(length > 0) and float(one @ two / length) >= SAME_MODEL


@dataclass(frozen=True, eq=False)
class FeatureCentroid:
    """Mean activations of a group of images, by layer and noise level.

    Attributes:
        name: of the group, given by the user.
        fingerprint: of the model that they were read from.
        latent_format: name of its latent format, such as "SD3".
        sigmas: noise levels, shape (S,), descending, float32.
        means: by layer, shape (S, C), float32.
        spreads: standard deviation over the images, by layer, shape (S, C), float32; 0 for a single image.
        images: number of images; 0 for a blend.
        variations: principal differences between the images, by layer, shape (K, C), float32: the rows' second
            moments are the covariance of the activations, averaged over noise levels. The k-th row is the same
            mixture of images in every layer. Empty for a single image.
        noises: covariance of the activations under noise alone, by layer; empty if unknown.
    """

    name: str
    fingerprint: ModelFingerprint
    latent_format: str
    sigmas: Tensor
    means: Mapping[str, Tensor]
    spreads: Mapping[str, Tensor]
    images: int
    variations: Mapping[str, Tensor] = field(default_factory=dict)
    noises: Mapping[str, FeatureNoise] = field(default_factory=dict)

    def __post_init__(self) -> None:
        levels = len(self.sigmas)
        if levels == 0 or not bool((self.sigmas > 0).all()) or bool((self.sigmas.diff() >= 0).any()):
            raise ValueError("A centroid needs noise levels above 0, the highest first.")
        if not self.means or set(self.means) != set(self.spreads):
            raise ValueError("A centroid needs the mean and the spread of at least one layer.")
        for name, mean in self.means.items():
            if mean.ndim != 2 or len(mean) != levels or mean.shape != self.spreads[name].shape:
                raise ValueError(f"The centroid's features of {name} do not fit its {levels} noise levels.")
            if not bool(mean.isfinite().all() and self.spreads[name].isfinite().all()):
                raise ValueError(f"The centroid's features of {name} are not finite: the model gave no numbers.")
            if (rows := self.variation(name)).ndim != 2 or rows.shape[1] != mean.shape[1]:
                raise ValueError(f"The centroid's variations of {name} do not fit its features.")
            if (noise := self.noise(name)).rows.shape[1:] != mean.shape[1:] or len(noise.sizes) != levels:
                raise ValueError(f"The centroid's noise of {name} does not fit its features.")

    @property
    def digest(self) -> str:
        """Hash of the means, hexadecimal."""
        state = hashlib.sha256(self.sigmas.numpy().tobytes())
        for name in sorted(self.means):
            state.update(name.encode() + self.means[name].numpy().tobytes())
        return state.hexdigest()

    def variation(self, layer: str) -> Tensor:
        """Principal differences between the images in a layer, shape (K, C); no rows for a single image."""
        return self.variations.get(layer, self.means[layer].new_empty(0, self.means[layer].shape[1]))

    def noise(self, layer: str) -> FeatureNoise:
        """Covariance of a layer's activations under noise alone; no rows if unknown."""
        return self.noises.get(layer) or FeatureNoise.unknown(*self.means[layer].shape)

    def check_model(self, fingerprint: ModelFingerprint, latent_format: str) -> None:
        """Refuse another model.

        Raises:
            OtherModelError: the centroid was read from another one.
        """
        if self.latent_format != latent_format:
            raise OtherModelError(
                f"The centroid '{self.name}' is of a model with {self.latent_format} latents, and this model's are "
                f"{latent_format}. Probe the exemplars again with this model."
            )
        if not self.fingerprint.matches(fingerprint):
            raise OtherModelError(
                f"The centroid '{self.name}' was read from another model, in which its features have another meaning. "
                "Probe the exemplars again with this model."
            )

    def renamed(self, name: str) -> FeatureCentroid:
        """The same centroid under another name."""
        return replace(self, name=name)

    def save(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            OSError: it could not be written.
        """
        tensors = {"sigmas": self.sigmas, "weights": self.fingerprint.weights}
        for name in self.means:
            tensors |= {f"mean:{name}": self.means[name], f"spread:{name}": self.spreads[name]}
        tensors |= {f"variation:{name}": rows for name, rows in self.variations.items() if len(rows)}
        for name, noise in self.noises.items():
            if len(noise.rows):
                tensors |= {f"noise:{name}": noise.rows, f"noise_size:{name}": noise.sizes}
        metadata = {
            "format": FORMAT,
            "name": self.name,
            "architecture": self.fingerprint.architecture,
            "latent_format": self.latent_format,
            "pictures": str(self.images),
            "layers": json.dumps(list(self.means)),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save({name: value.contiguous() for name, value in tensors.items()}, metadata))

    @classmethod
    def load(cls, path: Path) -> FeatureCentroid:
        """Read a file.

        Raises:
            ValueError: there is none, or it holds no centroid.
        """
        try:
            # In memory as a whole: a file that stays mapped cannot be replaced on Windows.
            data = read_own(path)
        except FileNotFoundError as error:
            raise ValueError(
                f"There is no centroid '{path.stem}'. Give the name under which a probe saved one."
            ) from error
        except OSError as error:
            raise ValueError(f"The centroid '{path.stem}' cannot be read: {error.strerror}. Save it again.") from error
        try:
            tensors, metadata = load(data), _metadata(data)
        except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"The centroid '{path.stem}' is damaged ({error}). Save it again.") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"The file of '{path.stem}' holds no centroid. Choose another.")
        try:
            return cls._from_parts(tensors, metadata)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"The centroid '{path.stem}' is damaged ({error}). Save it again.") from error

    @classmethod
    def _from_parts(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> FeatureCentroid:
        if any(tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("its numbers are not finite or of another type")
        layers = json.loads(metadata["layers"])
        weights = tensors["weights"]
        if not isinstance(layers, list) or tensors["sigmas"].ndim != 1 or weights.ndim != 1 or not len(weights):
            raise ValueError("its layers, noise levels or weights are no list")
        return cls(
            metadata["name"],
            ModelFingerprint(metadata["architecture"], weights),
            metadata["latent_format"],
            tensors["sigmas"],
            {name: tensors[f"mean:{name}"] for name in layers},
            {name: tensors[f"spread:{name}"] for name in layers},
            int(metadata["pictures"]),
            {name: tensors[key] for name in layers if (key := f"variation:{name}") in tensors},
            {
                name: FeatureNoise(tensors[key], tensors[f"noise_size:{name}"])
                for name in layers
                if (key := f"noise:{name}") in tensors
            },
        )


def _metadata(data: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file, whose length its first eight bytes say."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}
