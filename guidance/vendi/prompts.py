"""How alike two prompts are: the condition of the conditional Vendi Score (SPARKE, arXiv 2506.10173).

From their words, which every bank remembers and prompts for one subject share, or from what a text encoder makes of
them, which knows that a car is an automobile. Both are positive semidefinite kernels with a unit diagonal, as the
Hadamard form of the score demands: inner products of word counts, and the Gaussian kernel of encodings, since those of
any two prompts point much the same way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from ...kernels.similarity import gaussian_kernel, unit_rows

BUCKETS = 1024
"""Words are counted in this many buckets: two different words share one about once in a thousand times."""

ENCODED_WIDTH = 0.35
"""Width of the Gaussian kernel of encoded prompts, unit vectors; SPARKE takes 0.3 to 0.35 for those of CLIP."""


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as a text encoder sees it.

    Attributes:
        vectors: one for all pictures of a batch, (1, w), or one each, (B, w), of any length.
        tag: under which a bank remembers such vectors beside its features; encoders of other sizes have others.
    """

    vectors: Tensor
    tag: str


@dataclass(frozen=True)
class Prompts:
    """The prompts of some pictures, ready to be compared.

    Attributes:
        vectors: unit rows, (n, w).
        width: of the Gaussian kernel that compares them; None for their inner products.
    """

    vectors: Tensor
    width: float | None = None

    @classmethod
    def of_words(cls, prompts: Sequence[str | None]) -> Prompts:
        """Prompts by their words."""
        return cls(prompt_vectors(prompts))

    @classmethod
    def encoded(cls, vectors: Tensor) -> Prompts:
        """Prompts by what a text encoder makes of them, (n, w) of any length."""
        return cls(unit_rows(vectors.float()), ENCODED_WIDTH)

    def to(self, device: torch.device) -> Prompts:
        """The same on another device."""
        return Prompts(self.vectors.to(device), self.width)

    def at(self, rows: Tensor) -> Prompts:
        """Some of them, by index."""
        return Prompts(self.vectors[rows], self.width)

    def followed_by(self, others: Prompts) -> Prompts:
        """These and then others."""
        return Prompts(torch.cat([self.vectors, others.vectors]), self.width)

    def likeness(self, others: Prompts) -> Tensor:
        """Similarities (n, m), 0 to 1."""
        if self.width is None:
            return (self.vectors @ others.vectors.T).clamp(0, 1)
        return gaussian_kernel(self.vectors, others.vectors, bandwidth=self.width)


def prompt_vectors(prompts: Sequence[str | None]) -> Tensor:
    """Word counts of prompts as unit vectors, case and punctuation ignored.

    Args:
        prompts: n texts; None or one without words is like other such prompts and like nothing else.

    Returns:
        (n, BUCKETS + 1), float32.
    """
    # A bank holds many pictures of few prompts.
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
