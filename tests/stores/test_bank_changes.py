"""What a user asks of a bank: remove, undo, restore, pin. Each is one revision or none, and refused in a sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank import database
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import BankError, BankWriteError, RevisionError
from diversity_guidance.stores.bank.transaction import BankTransaction
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)


@pytest.fixture
def ids(bank: MemoryBank, latents: Latents) -> tuple[str, ...]:
    """Of six images in three revisions, with previews."""
    found: tuple[str, ...] = ()
    for seed in range(3):
        thumbnails = torch.full((2, 2, 2, 3), seed, dtype=torch.uint8)
        found += bank.append(latents(2, seed=seed), latent_format="SD3", prompts="a cat", thumbnails=thumbnails).ids
    return found


def held(bank: MemoryBank, revision: int | None = None) -> tuple[str, ...]:
    return tuple(entry.id for entry in bank.snapshot(revision).entries)


def test_what_is_removed_stays_in_earlier_revisions(bank: MemoryBank, ids: tuple[str, ...]) -> None:
    assert bank.remove([ids[1], ids[4], ids[1]]) == 4
    assert held(bank) == (ids[0], ids[2], ids[3], ids[5]) and held(bank, 3) == ids
    assert bank.remove([]) == 4 and bank.revision == 4


def test_unknown_images_are_named_and_nothing_is_removed(bank: MemoryBank, ids: tuple[str, ...]) -> None:
    unknown = [f"{digit}" * 64 for digit in range(5)]
    with pytest.raises(BankError, match="no image 000000000000, 111111111111, 222222222222 and 2 more, so nothing"):
        bank.remove([ids[0], *unknown])
    with pytest.raises(BankError, match="no image 000000000000, so nothing was changed"):
        bank.pin([ids[0], unknown[0]])
    assert held(bank) == ids and bank.info().pinned == 0


def test_undo_brings_images_back_to_their_places(bank: MemoryBank, ids: tuple[str, ...]) -> None:
    digest, latents = bank.snapshot().digest, bank.snapshot().matching("SD3", SHAPE).latents
    bank.pin(ids[1:2])
    bank.remove(ids[1:4])
    assert bank.undo() == 5 == bank.revision
    snapshot = bank.snapshot()
    assert snapshot.digest == digest and torch.equal(snapshot.matching("SD3", SHAPE).latents, latents)
    assert len(snapshot.thumbnails(ids)) == 6
    assert [entry.pinned for entry in snapshot.entries] == [False, True, False, False, False, False]
    assert bank.verify() == () and bank.compact() == 3 and bank.verify() == ()


def test_undo_goes_back_step_by_step_and_a_new_change_begins_anew(
    bank: MemoryBank, ids: tuple[str, ...], latents: Latents
) -> None:
    bank.clear()
    states = [held(bank, revision) for revision in range(5)]
    for earlier in (3, 2):
        bank.undo()
        assert held(bank) == states[earlier]
    added = bank.append(latents(1, seed=9), latent_format="SD3").ids
    assert held(bank) == ids[:4] + added
    for earlier in (2, 1, 0):
        bank.undo()
        assert held(bank) == states[earlier]
    with pytest.raises(BankError, match="nothing to undo"):
        bank.undo()
    assert bank.restore(3) == bank.revision and held(bank) == ids
    bank.undo()
    assert held(bank) == ()
    assert bank.verify() == ()


def test_undo_takes_back_what_an_append_evicted(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=3)
    first = bank.append(latents(3), latent_format="SD3").ids
    bank.append(latents(2, seed=1), latent_format="SD3")
    bank.undo()
    assert held(bank) == first


def test_undo_takes_previews_back(bank: MemoryBank, ids: tuple[str, ...], latents: Latents) -> None:
    bank.append(latents(2), latent_format="SD3", features={"clip": latents(2, shape=(5,))})
    assert len(bank.snapshot().features("clip")[0]) == 2
    assert bank.undo() == 5 and held(bank) == ids
    assert bank.snapshot().features("clip")[0] == () == bank.snapshot(4).features("clip")[0]
    again = bank.append(latents(2), latent_format="SD3", features={"clip": latents(2, shape=(5,))})
    assert again.revision == 6 and len(bank.snapshot().features("clip")[0]) == 2


def test_what_was_vacuumed_cannot_be_undone(bank: MemoryBank, ids: tuple[str, ...]) -> None:
    bank.remove(ids[:1])
    bank.vacuum()
    fingerprint = bank.fingerprint()
    with pytest.raises(RevisionError, match=r"revision 4 cannot be undone\. Revision 3 was vacuumed away"):
        bank.undo()
    with pytest.raises(RevisionError, match="Revision 2 was vacuumed away"):
        bank.restore(2)
    assert bank.fingerprint() == fingerprint


def test_a_bank_that_never_was_has_nothing_to_undo(bank: MemoryBank, tmp_path: Path) -> None:
    with pytest.raises(BankError, match="'portraits' was never changed"):
        bank.undo()
    with pytest.raises(RevisionError, match="Revision 1 was asked for"):
        bank.restore(1)
    assert bank.restore(0) == 0 == bank.remove([])
    assert not list(tmp_path.iterdir())


def test_a_brought_back_image_survives_a_vacuum_and_leaves_no_files(
    bank: MemoryBank, ids: tuple[str, ...], latents: Latents
) -> None:
    bank.clear()
    bank.undo()
    bank.vacuum()
    assert held(bank) == ids and len(bank.snapshot().matching("SD3", SHAPE)) == 6 and bank.verify() == ()
    assert bank.append(latents(1, seed=5), latent_format="SD3").added == 1
    assert len(set(bank.snapshot().matching("SD3", SHAPE).ids)) == 7
    bank.clear()
    bank.vacuum()
    assert list((bank.folder / "shards").iterdir()) == [] and bank.info().history_bytes == 0


def test_damage_to_a_brought_back_image_is_dropped_everywhere(bank: MemoryBank, ids: tuple[str, ...]) -> None:
    bank.remove(ids[:2])
    bank.undo()
    row = bank.snapshot().parts[0]["latents"]
    row.shard.path.unlink()
    assert bank.repair().dropped == ids[:2] and held(bank) == ids[2:] and bank.verify() == ()
    for revision in (3, 5):
        with pytest.raises(RevisionError, match="damaged and dropped"):
            bank.restore(revision)


def test_pinned_images_are_never_evicted(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=4)
    ids = bank.append(latents(4), latent_format="SD3").ids
    fingerprint = bank.fingerprint()
    bank.pin([ids[0], ids[2]])
    assert bank.fingerprint() == fingerprint and bank.info().pinned == 2
    result = bank.append(latents(3, seed=1), latent_format="SD3")
    assert (result.added, result.evicted, result.beyond_capacity) == (2, 2, 1)
    assert held(bank) == (ids[0], ids[2], *result.ids[1:])
    bank.pin([ids[0]], pinned=False)
    assert [entry.pinned for entry in bank.snapshot().entries] == [False, True, False, False]
    assert bank.append(latents(1, seed=2), latent_format="SD3").evicted == 1
    assert ids[0] not in held(bank) and ids[2] in held(bank)


def test_a_bank_of_pinned_images_takes_no_more(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=2)
    ids = bank.append(latents(2), latent_format="SD3").ids
    bank.pin(ids)
    result = bank.append(torch.cat([latents(2)[:1], latents(3, seed=1)]), latent_format="SD3")
    assert (result.added, result.duplicates, result.beyond_capacity, result.evicted) == (0, 1, 3, 0)
    assert held(bank) == ids
    # Known images still gain what they lack.
    gained = bank.append(latents(2), latent_format="SD3", features={"clip": latents(2, shape=(5,))})
    assert gained.revision == 2 and len(bank.snapshot().features("clip")[0]) == 2
    assert MemoryBank(tmp_path, "small", capacity=1).append(latents(1, seed=4), latent_format="SD3").added == 0


def test_a_bank_that_another_program_holds_is_read_and_not_changed(
    bank: MemoryBank, ids: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, latents: Latents
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    deeds: dict[str, Callable[[], object]] = {
        "append": lambda: bank.append(latents(1, seed=9), latent_format="SD3"),
        "import": lambda: bank.take_in([], "SD3", "", ""),
        "remove": lambda: bank.remove(ids[:1]),
        "pin": lambda: bank.pin(ids[:1]),
        "pin revision": lambda: bank.pin_revision(1),
        "restore": lambda: bank.restore(1),
        "rename": lambda: bank.rename("another"),
        **{deed.__name__: deed for deed in (bank.clear, bank.undo, bank.vacuum, bank.compact, bank.delete)},
    }
    with closing(sqlite3.connect(bank.folder / "index.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for deed in deeds.values():
            with pytest.raises(BankWriteError, match="Another program holds it"):
                deed()
        assert held(bank) == ids and bank.verify() == () and bank.copy_to("copy").verify() == ()
    assert bank.remove(ids[:1]) == 4


@pytest.mark.parametrize("deed", ["remove", "undo", "clear"])
def test_a_change_that_cannot_be_stored_leaves_the_bank(
    bank: MemoryBank, ids: tuple[str, ...], deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    fingerprint = bank.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(BankTransaction, "publish", fail)
        with pytest.raises(BankError, match="free some space"):
            {"remove": lambda: bank.remove(ids[:1]), "undo": bank.undo, "clear": bank.clear}[deed]()
    assert bank.fingerprint() == fingerprint and held(bank) == ids and len(bank.snapshot().thumbnails(ids)) == 6


def test_an_equal_batch_after_a_removal_is_no_damage(bank: MemoryBank, latents: Latents) -> None:
    """Its file is named by its content, and so is the one that is there already."""
    for _ in range(3):
        bank.append(latents(2), latent_format="SD3", prompts="a cat")
        bank.append(latents(2, seed=1), latent_format="SD3")
        bank.clear()
    assert len(list((bank.folder / "shards").iterdir())) == 2 and bank.verify() == ()
    assert bank.repair().dropped == () and len(bank.snapshot(2)) == len(bank.snapshot(8)) == 4
    assert bank.compact() == 2 and bank.verify() == () and len(list((bank.folder / "shards").iterdir())) == 1
    for revision in (1, 2, 8):
        expected = torch.cat([latents(2), latents(2, seed=1)]).half()[: len(bank.snapshot(revision))]
        assert torch.equal(bank.snapshot(revision).matching("SD3", SHAPE).latents, expected)
    bank.vacuum()
    assert list((bank.folder / "shards").iterdir()) == []
