"""Any image encoder, such as a host's CLIP vision model, as a feature space."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .space import as_images, unit_vectors


class Encoder:
    """A thin adapter around a callable that maps images to vectors."""

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        name: str,
        dimension: int,
        *,
        differentiable: bool = False,
        duplicate_distance: float = 0.3,
    ) -> None:
        """Wrap an encoder.

        Args:
            encode: images (B, 3, H, W) in 0..1, float32, to vectors (B, dimension); scaling and normalisation are its
                own.
            name: the tag of the space: identifies the network and its weights.
            dimension: length of a vector.
            differentiable: whether gradients flow through ``encode``.
            duplicate_distance: distance of unit vectors below which two images are near-duplicates.
        """
        self._encode = encode
        self.tag = name
        self.dimension = dimension
        self.differentiable = differentiable
        self.duplicate_distance = duplicate_distance

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of images (B, 3, H, W) in 0 to 1 of any size.

        Raises:
            ValueError: another shape, numbers that are not finite, or an encoder that returns something else.
        """
        features = self._encode(as_images(items))
        expected = (len(items), self.dimension)
        if features.shape != expected:
            raise ValueError(f"{self.tag} returned features of shape {tuple(features.shape)} instead of {expected}.")
        return unit_vectors(features)
