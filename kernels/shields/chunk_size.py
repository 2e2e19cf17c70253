"""Sizes of the chunks of long computations, reduced while memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_divisor: ContextVar[int] = ContextVar("divisor of the size of chunks", default=1)


@contextmanager
def smaller_chunks(divisor: int) -> Iterator[None]:
    """A context in which chunk sizes are divided by this number."""
    token = _divisor.set(divisor)
    try:
        yield
    finally:
        _divisor.reset(token)


def chunk_size(usual: int) -> int:
    """The usual chunk size divided by the current divisor; at least 1."""
    return max(1, usual // _divisor.get())
