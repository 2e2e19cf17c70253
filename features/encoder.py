"""Any picture encoder, such as a host's CLIP vision model, as a feature space."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .space import as_pictures, unit_vectors


class Encoder:
    """A thin adapter around a callable that maps pictures to vectors."""

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
            encode: pictures (B, 3, H, W) in 0..1, float32, to vectors (B, dimension); it scales and normalises as its
                network wants.
            name: of the network and its weights: the tag of the space.
            dimension: length of a vector.
            differentiable: whether gradients flow through ``encode``.
            duplicate_distance: distance of unit vectors below which two pictures are near-duplicates.
        """
        self._encode = encode
        self._name = name
        self._dimension = dimension
        self._differentiable = differentiable
        self._duplicate_distance = duplicate_distance

    @property
    def tag(self) -> str:
        """Name of the space."""
        return self._name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow to the pictures."""
        return self._differentiable

    @property
    def duplicate_distance(self) -> float:
        """Distance below which two pictures are called near-duplicates."""
        return self._duplicate_distance

    def __call__(self, items: Tensor) -> Tensor:
        """Unit vectors, shape (B, dimension), of pictures (B, 3, H, W) in 0 to 1 of any size.

        Raises:
            ValueError: another shape, numbers that are not finite, or an encoder that returns something else.
        """
        features = self._encode(as_pictures(items))
        if features.shape != (len(items), self._dimension):
            raise ValueError(
                f"{self._name} returned features of shape {tuple(features.shape)} instead of "
                f"{(len(items), self._dimension)}."
            )
        return unit_vectors(features)
