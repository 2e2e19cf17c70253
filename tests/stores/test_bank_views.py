"""The latents of a queue lie in the memory of the last one's, as long as they can."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.view import BankView
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)


@pytest.fixture
def full(bank: MemoryBank, latents: Latents) -> MemoryBank:
    bank.capacity = 12
    bank.append(latents(12), latent_format="SD3")
    return bank


def views(bank: MemoryBank, latents: Latents, count: int) -> list[tuple[BankView, Tensor]]:
    """Of so many queues that save two images, each with the latents that it should hold."""
    found, expected = list[tuple[BankView, Tensor]](), latents(12)
    for seed in range(count):
        found.append((bank.snapshot().matching("SD3", SHAPE), expected.half()))
        saved = latents(2, seed=seed + 100)
        bank.append(saved, latent_format="SD3")
        expected = torch.cat([expected[2:], saved])
    return found


def storage(view: BankView) -> int:
    return view.latents.untyped_storage().data_ptr()


def test_queues_share_memory_and_never_change_what_others_hold(full: MemoryBank, latents: Latents) -> None:
    found = views(full, latents, 30)
    assert all(torch.equal(view.latents, expected) and view.latents.is_contiguous() for view, expected in found)
    shared = [storage(view) == storage(after) for (view, _), (after, _) in pairwise(found)]
    # Twelve rows and room for twelve more: six queues fit behind the first.
    assert shared == [place % 7 != 6 for place in range(29)]
    assert max(view.latents.untyped_storage().nbytes() for view, _ in found) == 2 * found[0][0].latents.nbytes


def test_two_views_after_one_do_not_write_over_each_other(full: MemoryBank, latents: Latents) -> None:
    held = full.snapshot()
    first = held.matching("SD3", SHAPE)
    full.append(latents(2, seed=1), latent_format="SD3")
    one = full.snapshot()
    full.undo()
    full.append(latents(2, seed=2), latent_format="SD3")
    other = full.snapshot()
    views = [snapshot.matching("SD3", SHAPE) for snapshot in (one, other)]
    assert storage(first) == storage(views[0]) != storage(views[1])
    for seed, view in enumerate(views, start=1):
        assert torch.equal(view.latents[-2:], latents(2, seed=seed).half())


def test_what_is_removed_in_between_is_copied_around(full: MemoryBank, latents: Latents) -> None:
    held = full.snapshot()
    before = held.matching("SD3", SHAPE)
    full.remove([held.entries[5].id])
    after = full.snapshot().matching("SD3", SHAPE)
    assert torch.equal(after.latents, torch.cat([before.latents[:5], before.latents[6:]]))
    assert storage(after) != storage(before)


def test_images_of_other_sizes_in_between_do_not_matter(full: MemoryBank, latents: Latents) -> None:
    full.capacity = 30
    full.append(latents(3, shape=(4, 2, 2)), latent_format="SD3")
    held = full.snapshot()
    before = held.matching("SD3", SHAPE)
    full.append(latents(2, shape=(4, 2, 2), seed=1), latent_format="SD3")
    full.append(latents(2, seed=1), latent_format="SD3")
    after = full.snapshot().matching("SD3", SHAPE)
    assert (len(before), before.left_out, len(after), after.left_out) == (12, 3, 14, 5)
    assert storage(after) == storage(before) and torch.equal(after.latents[-2:], latents(2, seed=1).half())


def test_a_stored_view_holds_its_own_latents_only(full: MemoryBank, latents: Latents) -> None:
    view = views(full, latents, 3)[2][0]
    copy = pickle.loads(pickle.dumps(view))
    assert torch.equal(copy.latents, view.latents) and copy.entries == view.entries
    assert copy.latents.untyped_storage().nbytes() == view.latents.nbytes < view.latents.untyped_storage().nbytes()


def test_gradients_survive_the_next_queue(full: MemoryBank, latents: Latents) -> None:
    held = full.snapshot()
    view = held.matching("SD3", SHAPE)
    estimate = torch.zeros(SHAPE, dtype=torch.float16, requires_grad=True)
    loss = (view.latents * estimate).sum()
    full.append(latents(2, seed=1), latent_format="SD3")
    assert storage(full.snapshot().matching("SD3", SHAPE)) == storage(view)
    loss.backward()
    assert estimate.grad is not None and torch.equal(estimate.grad, view.latents.sum(0))
