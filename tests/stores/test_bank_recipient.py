"""A workflow names a bank: its recipient may have none, the same, or another of that name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import RevisionError
from diversity_guidance.stores.bank.exchange.recipient import load_named
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from torch import Tensor

Latents = Callable[..., Tensor]


@pytest.fixture
def filled(bank: MemoryBank, latents: Latents) -> MemoryBank:
    for seed in range(3):
        bank.append(latents(2, seed=seed), latent_format="SD3")
    return bank


def test_a_recipient_without_the_bank_is_told_and_can_run_without(filled: MemoryBank, tmp_path: Path) -> None:
    missing = MemoryBank(tmp_path / "another machine", "portraits")
    for digest in (filled.snapshot(2).digest, ""):
        with pytest.raises(RevisionError, match=r"no such bank on this machine.*bank import here\. Or set"):
            load_named(missing, 2, digest)
        for revision in (None, 0):
            snapshot, (told,) = load_named(missing, revision, digest)
            assert (len(snapshot), snapshot.name, snapshot.revision) == (0, "portraits", 0)
            assert "an empty one is used" in told and ("was saved beside one with images" in told) == bool(digest)
    assert "with images" not in load_named(missing, None, BankSnapshot.empty().digest)[1][0]
    assert not missing.folder.exists()


def test_the_bank_itself_is_loaded_without_a_word(filled: MemoryBank) -> None:
    for revision in (None, 2, 0):
        expected = filled.snapshot(revision)
        for digest in (expected.digest, f" {expected.digest}\n", ""):
            snapshot, told = load_named(filled, revision, digest)
            assert snapshot.digest == expected.digest and told == []


def test_another_bank_of_the_name_is_refused_or_told(filled: MemoryBank) -> None:
    with pytest.raises(RevisionError, match=r"instead of 000000000000\): it is another bank of the same name"):
        load_named(filled, 2, "0" * 64)
    snapshot, (told,) = load_named(filled, None, filled.snapshot(2).digest)
    assert len(snapshot) == 6 and "images were added or removed since, or it is another bank" in told
    with pytest.raises(RevisionError, match="must be the 64 digits"):
        load_named(filled, None, 7)


def test_what_an_old_revision_needs_is_told_before_it_goes(filled: MemoryBank) -> None:
    filled.remove([filled.snapshot().entries[0].id])
    _, (told,) = load_named(filled, 2)
    assert "Revision 2 needs 1 image that the bank no longer holds, 0.0 MB" in told and "pin-revision" in told
    filled.pin_revision(2)
    assert load_named(filled, 2)[1] == []
