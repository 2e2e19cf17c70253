"""How large the chunks are in which long computations are done: smaller ones where memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_divisor: ContextVar[int] = ContextVar("divisor of the size of chunks", default=1)


@contextmanager
def smaller_chunks(divisor: int) -> Iterator[None]:
    """A context in which chunks are smaller by this factor."""
    token = _divisor.set(divisor)
    try:
        yield
    finally:
        _divisor.reset(token)


def chunk_size(usual: int) -> int:
    """How many of something are computed at once where usually it is so many; at least one."""
    return max(1, usual // _divisor.get())
