"""A bank that is opened again: only what changed is read, and nothing that anybody changed is missed."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from diversity_guidance.stores.bank import recent
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.database import DATABASE, SHARDS
from diversity_guidance.stores.bank.errors import BankError
from diversity_guidance.stores.bank.shards import StoredRow
from diversity_guidance.stores.bank.transaction import BankTransaction
from support.bank_processes import pin_first
from support.processes import finish, start
from support.random_latents import random_latents
from torch import Tensor

Latents = Callable[..., Tensor]


@pytest.fixture
def filled(bank: MemoryBank, latents: Latents) -> MemoryBank:
    bank.append(latents(5), latent_format="SD3")
    bank.snapshot()
    return bank


def test_after_an_append_the_bank_is_not_read_in_full(
    filled: MemoryBank, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(BankTransaction, "entries_at")
    filled.append(latents(2, seed=1), latent_format="SD3")
    ids = [entry.id for entry in filled.snapshot().entries]
    filled.remove(ids[2:4])
    filled.compact()
    assert [entry.id for entry in filled.snapshot().entries] == ids[:2] + ids[4:]


def change(bank: MemoryBank, dice: random.Random) -> str:
    """Change a bank in a random way, and tell how."""
    ids = [entry.id for entry in bank.snapshot().entries]
    some = dice.sample(ids, min(len(ids), dice.randint(1, 4)))
    once = ["remove", "unpin", "restore", "compact", "vacuum", "repair"]
    kind = dice.choice(once + 2 * ["pin", "undo"] + 4 * ["append"])
    if kind == "append":
        seed = dice.randint(0, 6)
        features = {"clip": random_latents(3, seed=seed, shape=(2,))} if dice.random() < 0.5 else None
        bank.append(random_latents(3, seed=seed), latent_format="SD3", features=features)
    elif kind == "remove":
        bank.remove(some)
    elif kind in ("pin", "unpin"):
        bank.pin(some, kind == "pin")
    elif kind == "restore":
        with suppress(BankError):
            bank.restore(dice.randint(bank.info().oldest_revision, bank.revision))
    elif kind == "repair" and ids:
        shard = dice.choice(sorted((bank.folder / SHARDS).iterdir()))
        shard.write_bytes(bytes(shard.stat().st_size))
        bank.repair()
    elif kind in ("compact", "vacuum", "undo"):
        with suppress(BankError):
            getattr(bank, kind)()
    return kind


@pytest.mark.parametrize("seed", range(8))
def test_what_is_read_of_a_change_agrees_with_what_is_read_in_full(tmp_path: Path, seed: int) -> None:
    dice, kinds = random.Random(seed), list[str]()
    bank = MemoryBank(tmp_path, "portraits", capacity=12)
    bank.append(random_latents(3), latent_format="SD3")
    for _ in range(40):
        kinds.append(change(bank, dice))
        changed = bank.snapshot()
        read = recent._kept.pop(bank.folder / DATABASE)
        full = bank.snapshot()
        again = recent._kept.pop(bank.folder / DATABASE)
        assert changed == full and changed.parts == full.parts, kinds
        assert [entry.pinned for entry in changed.entries] == [entry.pinned for entry in full.entries], kinds
        assert (read.claimed, read.positions) == (again.claimed, again.positions), kinds
        # What was read piece by piece goes on, so that errors add up.
        recent._kept[bank.folder / DATABASE] = read


def test_what_another_process_pins_is_seen(filled: MemoryBank) -> None:
    """Although neither the revision nor the size of the file tells of it."""
    finish(start(pin_first, filled))
    assert [entry.pinned for entry in filled.snapshot().entries] == [True, False, False, False, False]


def test_a_bank_of_the_same_name_and_revision_is_another(filled: MemoryBank, latents: Latents) -> None:
    filled.delete()
    filled.append(latents(3, seed=7), latent_format="SD3")
    assert len(filled.snapshot()) == 3
    other = MemoryBank(filled.folder.parent, "other")
    other.append(latents(4), latent_format="SD3")
    filled.rename("old")
    other.rename(filled.name)
    assert len(filled.snapshot()) == 4


def test_an_edit_by_hand_is_seen(filled: MemoryBank) -> None:
    with sqlite3.connect(filled.folder / DATABASE) as edited:
        edited.execute("UPDATE entries SET id = 'none' WHERE position = 1")
    edited.close()
    snapshot = filled.snapshot()
    assert len(snapshot) == 4 and "its id is invalid" in snapshot.lost[0]


def test_a_flaw_in_a_change_is_told_as_in_a_full_reading(
    filled: MemoryBank, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_part = BankTransaction.add_part

    def too_large(transaction: BankTransaction, position: int, row: StoredRow, revision: int) -> None:
        add_part(transaction, position, row, revision)
        transaction.connection.execute("UPDATE parts SET shape = '4000,3,2' WHERE position = 7")

    monkeypatch.setattr(BankTransaction, "add_part", too_large)
    filled.append(latents(3, seed=1), latent_format="SD3")
    for _ in range(2):
        snapshot = filled.snapshot()
        assert len(snapshot) == 7 and "larger than their file" in snapshot.lost[0]


def test_few_banks_are_kept(tmp_path: Path, latents: Latents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_ENTRIES", 5)
    recent._kept.clear()
    banks = [MemoryBank(tmp_path, f"bank {number}") for number in range(4)]
    for bank in banks:
        bank.append(latents(2), latent_format="SD3")
        bank.snapshot()
    assert list(recent._kept) == [bank.folder / DATABASE for bank in banks[2:]]
