"""Work in threads, some of it in advance, with the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MAX_WORKERS = 4

_S = TypeVar("_S")
_T = TypeVar("_T")


def work_ahead(
    items: Iterable[_S], work: Callable[[_S], _T], workers: int | None = None
) -> Iterator[tuple[_S, Callable[[], _T]]]:
    """Call ``work`` with each item, in threads; at most twice as many results as threads wait.

    Args:
        items: taken as they are needed, in the calling thread.
        work: called with each item, in any thread.
        workers: number of threads; by default one per processor, at most ``MAX_WORKERS``.

    Yields:
        Each item, and a function that returns its result or raises what ``work`` raised.
    """
    count = workers or min(MAX_WORKERS, os.cpu_count() or 1)
    waiting: deque[tuple[_S, Callable[[], _T]]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="work-ahead")
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item).result))
            if len(waiting) > 2 * count:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
