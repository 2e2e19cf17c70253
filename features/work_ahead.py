"""Work in threads, some of it in advance, with the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

MAX_WORKERS = 4

_S = TypeVar("_S")
_T = TypeVar("_T")


def work_ahead(
    items: Iterable[_S], work: Callable[[_S], _T], workers: int | None = None
) -> Iterator[tuple[_S, Callable[[], _T]]]:
    """Call ``work`` with each item, in threads; at most twice as many results as threads wait.

    They work in the caller's autograd and inference modes. In each of them torch uses one core: threads that share the
    cores wait for one another, now and then for minutes.

    Args:
        items: taken as they are needed, in the calling thread.
        work: called with each item, in any thread.
        workers: number of threads; by default one per processor, at most ``MAX_WORKERS``.

    Yields:
        Each item, and a function that returns its result or raises what ``work`` raised.
    """
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def work_alike(item: _S) -> _T:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return work(item)

    count = workers or min(MAX_WORKERS, os.cpu_count() or 1)
    waiting: deque[tuple[_S, Callable[[], _T]]] = deque()
    pool = ThreadPoolExecutor(count, "work-ahead", initializer=torch.set_num_threads, initargs=(1,))
    try:
        for item in items:
            waiting.append((item, pool.submit(work_alike, item).result))
            if len(waiting) > 2 * count:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # The workers' number is also what threads begun from now on would have; that of this thread is as it was.
        torch.set_num_threads(torch.get_num_threads())
