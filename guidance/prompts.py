"""Similarity of prompts: the condition of the conditional Vendi Score (SPARKE, arXiv 2506.10173).

Prompts are compared by their words, which every bank remembers, or by their encodings, which know that a car is an
automobile. Both kernels are positive semidefinite with a unit diagonal, as the Hadamard form of the score requires:
inner products of word counts, and the Gaussian kernel of encodings, as these all point in similar directions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from ..kernels.similarity import gaussian_kernel, unit_rows

BUCKETS = 1024
"""Words are counted in this many hash buckets."""

ENCODED_WIDTH = 0.35
"""Width of the Gaussian kernel of encodings, unit vectors; SPARKE uses 0.3 to 0.35 for those of CLIP."""


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt's encoding by a text encoder.

    Attributes:
        vectors: one for all images of a batch, (1, w), or one for each, (B, w), of any length.
        tag: under which a bank stores such vectors; it differs between encoders of different sizes.
    """

    vectors: Tensor
    tag: str


@dataclass(frozen=True)
class Prompts:
    """Prompts of images, ready to be compared.

    Attributes:
        vectors: unit rows, (n, w).
        width: of the Gaussian kernel between them; None for inner products.
    """

    vectors: Tensor
    width: float | None = None

    @classmethod
    def from_words(cls, prompts: Sequence[str | None]) -> Prompts:
        """From texts, compared by their words."""
        return cls(prompt_vectors(prompts))

    @classmethod
    def from_encodings(cls, vectors: Tensor) -> Prompts:
        """From encodings (n, w) of any length."""
        return cls(unit_rows(vectors.float()), ENCODED_WIDTH)

    def to(self, device: torch.device) -> Prompts:
        """The same prompts on a device."""
        return Prompts(self.vectors.to(device), self.width)

    def take(self, rows: Tensor) -> Prompts:
        """The rows of these indices."""
        return Prompts(self.vectors[rows], self.width)

    def concat(self, others: Prompts) -> Prompts:
        """These rows, then the others."""
        return Prompts(torch.cat([self.vectors, others.vectors]), self.width)

    def similarity(self, others: Prompts) -> Tensor:
        """Similarities (n, m), 0 to 1."""
        if self.width is None:
            return (self.vectors @ others.vectors.T).clamp(0, 1)
        return gaussian_kernel(self.vectors, others.vectors, bandwidth=self.width)


def prompt_vectors(prompts: Sequence[str | None]) -> Tensor:
    """Word counts of prompts as unit vectors, ignoring case and punctuation.

    Args:
        prompts: n texts; those without words, and None, are similar to each other and to nothing else.

    Returns:
        (n, BUCKETS + 1), float32.
    """
    # A bank holds many images of few prompts.
    texts = sorted({text or "" for text in prompts})
    counts = torch.zeros(len(texts), BUCKETS + 1)
    for row, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        for word in words:
            counts[row, crc32(word.encode()) % BUCKETS] += 1
        if not words:
            counts[row, BUCKETS] = 1
    place = {text: row for row, text in enumerate(texts)}
    return unit_rows(counts)[[place[text or ""] for text in prompts]]
