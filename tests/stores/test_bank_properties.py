"""Whatever is done to a bank in whatever order, it agrees with a list that is kept beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import BankError, RevisionError
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

SHAPE = (2, 1)
batches = st.lists(st.integers(0, 9), min_size=1, max_size=6)


def latents_of(numbers: list[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1).expand(-1, *SHAPE)


class BankMachine(RuleBasedStateMachine):
    """Images are numbers, the bank is a list of them at each revision."""

    @initialize(capacity=st.integers(1, 6))
    def make(self, capacity: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.bank = MemoryBank(Path(self.folder.name), "portraits", capacity=capacity)
        self.history: list[list[int]] = [[]]
        self.undone: list[int | None] = [None]
        self.fingerprints = [self.bank.fingerprint()]
        self.oldest = 0
        self.pinned: set[int] = set()

    def expect(self, numbers: list[int], changed: bool, undone: int | None = None) -> None:
        if changed:
            self.history.append(numbers)
            self.undone.append(undone)
            self.fingerprints.append(self.bank.fingerprint())
        assert self.bank.revision == len(self.history) - 1

    @rule(numbers=batches)
    def append(self, numbers: list[int]) -> None:
        held = self.history[-1]
        pinned = self.pinned.intersection(held)
        others = [number for number in dict.fromkeys(numbers) if number not in pinned]
        kept = others[max(len(others) - self.bank.capacity + len(pinned), 0) :]
        fresh = [number for number in kept if number not in held]
        room = self.bank.capacity - len(fresh)
        leaving = [number for number in held if number not in kept and number not in pinned]
        leaving = leaving[: max(len(held) - room, 0)]
        result = self.bank.append(latents_of(numbers), latent_format="SD3")
        assert (result.added, result.evicted) == (len(fresh), len(leaving) if fresh else 0)
        assert result.added + result.duplicates + result.beyond_capacity == len(numbers)
        self.expect([number for number in held if number not in leaving] + fresh, bool(fresh))
        # A full bank forgets what was evicted longest ago, and keeps at most as many as it holds.
        self.oldest = self.bank.info().oldest_revision
        assert self.bank.append(latents_of(numbers), latent_format="SD3").revision == result.revision

    @rule()
    def compact(self) -> None:
        self.bank.compact()
        assert self.bank.compact() == 0 and self.bank.info().oldest_revision == self.oldest

    @rule()
    def clear(self) -> None:
        changed = bool(self.history[-1])
        self.bank.clear()
        self.expect([], changed)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        held = self.history[-1]
        leaving = set(data.draw(st.lists(st.sampled_from(held), max_size=3))) if held else set()
        ids = {number: self.bank.snapshot().entries[place].id for place, number in enumerate(held)}
        self.bank.remove([ids[number] for number in leaving])
        self.expect([number for number in held if number not in leaving], bool(leaving))

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        """Once for all: a number that comes back after a removal is a new image, which is not pinned."""
        ids = {number: self.bank.snapshot().entries[place].id for place, number in enumerate(self.history[-1])}
        for number, identity in ids.items():
            pinned = data.draw(st.booleans())
            self.bank.pin([identity], pinned)
            (self.pinned.add if pinned else self.pinned.discard)(number)

    @rule()
    def undo(self) -> None:
        change = len(self.history) - 1
        while change > 0 and (undone := self.undone[change]) is not None:
            change = undone - 1
        if change > 0 and (change == 1 or change > self.oldest):
            self.bank.undo()
            self.expect(self.history[change - 1], True, change)
        else:
            with pytest.raises(BankError, match=r"nothing to undo|cannot be undone"):
                self.bank.undo()

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(self.oldest, len(self.history) - 1))
        if len(self.history) > 1:
            self.bank.restore(revision)
            self.expect(self.history[revision], True)

    @rule(data=st.data())
    def vacuum(self, data: st.DataObject) -> None:
        keep_from = data.draw(st.integers(self.oldest, len(self.history) - 1))
        result = self.bank.vacuum(keep_from)
        self.oldest = max(self.oldest, keep_from)
        assert result.oldest_revision == self.oldest

    @rule(numbers=batches)
    def wires_agree_with_the_disk_until_it_is_full(self, numbers: list[int]) -> None:
        held = self.history[-1]
        wired = BankSnapshot.empty().extended(latents_of(held), latent_format="SD3") if held else BankSnapshot.empty()
        assert wired.digest == self.bank.snapshot().digest
        longer = self.bank.snapshot().extended(latents_of(numbers), latent_format="SD3")
        expected = list(dict.fromkeys(held + numbers))
        assert longer.matching("SD3", SHAPE).latents[:, 0, 0].tolist() == expected

    @precondition(lambda self: len(self.history) > 1)
    @rule(data=st.data())
    def every_revision_is_reproduced_or_refused(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, len(self.history)))
        if revision == 0 or self.oldest <= revision < len(self.history):
            view = self.bank.snapshot(revision).matching("SD3", SHAPE)
            assert view.latents[:, 0, 0].tolist() == self.history[revision]
        else:
            with pytest.raises(RevisionError):
                self.bank.snapshot(revision)

    @invariant()
    def the_fingerprint_changes_with_the_content(self) -> None:
        if hasattr(self, "bank"):
            assert self.bank.fingerprint() == self.fingerprints[-1]
            assert len(set(self.fingerprints)) == len(self.history)
            entries = self.bank.snapshot().entries
            assert len(entries) <= self.bank.capacity
            # A number whose image left for good may have come back unpinned.
            numbers = zip(self.history[-1], entries, strict=True)
            self.pinned = {number for number, entry in numbers if entry.pinned}

    def teardown(self) -> None:
        if hasattr(self, "bank"):
            assert self.bank.verify() == ()
            self.folder.cleanup()


TestBank = BankMachine.TestCase
TestBank.settings = settings(max_examples=25, stateful_step_count=15, deadline=None, derandomize=True, database=None)
