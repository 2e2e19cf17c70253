"""Work in threads: in order, in the caller's modes, and without cores that wait for one another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from diversity_guidance.features.work_ahead import work_ahead


def test_results_come_in_order_and_few_wait() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    results = work_ahead(items(), lambda number: number**2, 2)
    first = next(results)
    assert (first[0], first[1](), len(taken)) == (0, 0, 5)
    assert [(number, result()) for number, result in results] == [(number, number**2) for number in range(1, 20)]


def test_threads_may_write_what_was_made_in_inference_mode() -> None:
    """The host runs nodes in it; a thread outside of it may not write such a tensor."""
    with torch.inference_mode():
        made = torch.zeros(3)

        def write(place: int) -> None:
            made[place] = place

        for _, done in work_ahead(range(3), write):
            done()
        assert made.tolist() == [0, 1, 2]


def test_threads_record_gradients_if_the_caller_does() -> None:
    weight = torch.ones((), requires_grad=True)
    with torch.no_grad():
        assert [result().requires_grad for _, result in work_ahead([1.0], lambda by: weight * by)] == [False]
    assert [result().requires_grad for _, result in work_ahead([1.0], lambda by: weight * by)] == [True]


def test_each_thread_has_one_core_and_later_ones_have_all() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert {result() for _, result in work_ahead(range(8), lambda _: torch.get_num_threads())} == {1}
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
