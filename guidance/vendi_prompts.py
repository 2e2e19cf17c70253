"""How alike two prompts are: the condition of the conditional Vendi Score (SPARKE, arXiv 2506.10173), from words alone.

A text encoder would tell more and is not needed: banks remember prompts as text, and prompts for one subject share its
words. Inner products of these vectors are a positive semidefinite kernel with a unit diagonal, as the Hadamard form of
the score demands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor

from ..kernels.similarity import unit_rows

BUCKETS = 1024
"""Words are counted in this many buckets: two different words share one about once in a thousand times."""


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
