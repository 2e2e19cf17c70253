"""Damaged files: told in a sentence, repaired at the price of the damaged entries only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import BankDamagedError, BankError, BankWriteError, RevisionError
from diversity_guidance.stores.bank.transaction import BankTransaction
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def shard_of(bank: MemoryBank, revision: int) -> Path:
    """The shard that this revision's append wrote."""
    before = {source.shard.path for parts in bank.snapshot(revision - 1).parts for source in parts.values()}
    after = {source.shard.path for parts in bank.snapshot(revision).parts for source in parts.values()}
    (path,) = after - before
    return path


@pytest.fixture
def filled(bank: MemoryBank, latents: Latents) -> MemoryBank:
    for seed in range(3):
        bank.append(latents(2, seed=seed), latent_format="SD3")
    return bank


@pytest.mark.parametrize("damage", [cut_in_half, Path.unlink])
def test_a_cut_or_missing_shard_is_told_when_the_snapshot_is_taken(
    filled: MemoryBank, damage: Callable[[Path], None]
) -> None:
    shard = shard_of(filled, 2)
    fingerprint = filled.fingerprint()
    damage(shard)
    with pytest.raises(
        BankDamagedError, match=rf"{shard.name}.*(is missing|bytes instead of).*diversity-guidance bank repair"
    ):
        filled.snapshot()
    assert len(filled.snapshot(1)) == 2
    assert filled.fingerprint() == fingerprint


def test_a_changed_byte_is_told_before_any_value_is_used(filled: MemoryBank) -> None:
    shard = shard_of(filled, 3)
    flip_a_byte(shard)
    snapshot = filled.snapshot()
    with pytest.raises(BankDamagedError, match=rf"{shard.name} does not hold what was written"):
        snapshot.matching("SD3", SHAPE)


@pytest.mark.parametrize("damage", [cut_in_half, flip_a_byte, Path.unlink])
def test_repair_drops_only_the_damaged_entries(
    filled: MemoryBank, latents: Latents, damage: Callable[[Path], None]
) -> None:
    entries = filled.snapshot().entries
    shard = shard_of(filled, 2)
    damage(shard)
    (found,) = filled.verify()
    assert found.shard.path == shard and shard.name in found.reason
    result = filled.repair()
    assert result.dropped == tuple(entry.id for entry in entries[2:4]) and (result.shards, result.revision) == (1, 4)
    assert filled.verify() == () and not shard.exists()
    expected = torch.cat([latents(2, seed=0), latents(2, seed=2)]).half()
    assert torch.equal(filled.snapshot().matching("SD3", SHAPE).latents, expected)
    assert len(filled.snapshot(1)) == 2
    for revision in (2, 3):
        with pytest.raises(RevisionError, match=f"Revision {revision} cannot be reproduced: 2 of its entries"):
            filled.snapshot(revision)
    again = filled.append(latents(2, seed=1), latent_format="SD3")
    assert again.added == 2 and len(filled.snapshot().matching("SD3", SHAPE)) == 6
    assert filled.vacuum().oldest_revision == again.revision


def test_losing_features_keeps_the_latents(filled: MemoryBank, latents: Latents) -> None:
    clip = latents(2, shape=(7,))
    filled.append(latents(2), latent_format="SD3", features={"clip": clip})
    flip_a_byte(shard_of(filled, 4))
    assert len(filled.snapshot().matching("SD3", SHAPE)) == 6
    with pytest.raises(BankDamagedError):
        filled.snapshot().features("clip")
    result = filled.repair()
    assert (result.dropped, result.shards) == ((), 1)
    assert len(filled.snapshot()) == 6 and len(filled.snapshot().features("clip")[0]) == 0
    filled.append(latents(2), latent_format="SD3", features={"clip": clip})
    assert torch.equal(filled.snapshot().features("clip")[1], clip)


def test_a_sound_bank_is_repaired_without_a_change(filled: MemoryBank) -> None:
    assert filled.repair().revision == filled.revision == 3


@pytest.mark.parametrize("content", [b"not a database" * 100, b"x", b"", None])
def test_an_index_that_is_no_database_is_told(filled: MemoryBank, latents: Latents, content: bytes | None) -> None:
    index = filled.folder / "index.sqlite"
    index.unlink() if content is None else index.write_bytes(content)
    for attempt in (
        filled.snapshot,
        filled.fingerprint,
        filled.verify,
        lambda: filled.append(latents(1), latent_format="SD3"),
    ):
        with pytest.raises(
            BankDamagedError, match=r"index\.sqlite is (damaged|missing or empty) .*Restore it from a backup"
        ):
            attempt()
    assert not content or index.read_bytes() == content
    assert len(list((filled.folder / "shards").iterdir())) == 3


def test_an_index_cut_in_half_is_told(filled: MemoryBank) -> None:
    index = filled.folder / "index.sqlite"
    cut_in_half(index)
    with pytest.raises(BankDamagedError, match=r"index\.sqlite is damaged"):
        filled.snapshot()


def test_an_index_that_is_a_folder_is_told(bank: MemoryBank, latents: Latents) -> None:
    (bank.folder / "index.sqlite").mkdir(parents=True)
    with pytest.raises(BankError, match="cannot be read"):
        bank.snapshot()
    with pytest.raises(BankWriteError, match="could not be written"):
        bank.append(latents(1), latent_format="SD3")


@pytest.mark.parametrize("statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 99"])
def test_a_foreign_or_newer_index_is_left_alone(bank: MemoryBank, latents: Latents, statement: str) -> None:
    if "user_version" in statement:
        bank.append(latents(1), latent_format="SD3")
    bank.folder.mkdir(exist_ok=True)
    connection = sqlite3.connect(bank.folder / "index.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(BankDamagedError, match="not the database of a bank that this version reads"):
        bank.append(latents(1, seed=1), latent_format="SD3")


def test_an_index_that_was_never_finished_is_an_empty_bank(bank: MemoryBank, latents: Latents) -> None:
    bank.folder.mkdir()
    (bank.folder / "index.sqlite").touch()
    assert len(bank.snapshot()) == 0
    assert bank.append(latents(1), latent_format="SD3").revision == 1


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_publication_leaves_nothing(
    filled: MemoryBank, latents: Latents, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    files = sorted(filled.folder.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(BankTransaction, "publish", fail)
        with pytest.raises((BankWriteError, KeyboardInterrupt)) as caught:
            filled.append(latents(3, seed=7), latent_format="SD3")
    if isinstance(failure, OSError):
        assert "No space left on device" in str(caught.value) and "free some space" in str(caught.value)
    assert sorted(filled.folder.rglob("*")) == files and filled.revision == 3
    assert filled.append(latents(3, seed=7), latent_format="SD3").added == 3


def test_a_failed_append_never_removes_a_shard_that_is_in_use(
    tmp_path: Path, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=1)
    bank.append(latents(1), latent_format="SD3")
    bank.append(latents(1, seed=1), latent_format="SD3")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(BankTransaction, "publish", fail)
        with pytest.raises(BankWriteError):
            bank.append(latents(1), latent_format="SD3")  # the same bytes as the evicted entry's shard
    assert torch.equal(bank.snapshot(1).matching("SD3", SHAPE).latents, latents(1).half())


def test_vacuum_sweeps_what_a_crash_left(filled: MemoryBank) -> None:
    shards = filled.folder / "shards"
    (shards / f"{'0' * 32}.safetensors").write_bytes(b"orphan")
    (shards / f"half.{'1' * 32}.tmp").write_bytes(b"half")
    theirs = [shards / "notes.txt", shards / "half.1.tmp"]
    for path in theirs:
        path.write_text("the user's own")
    assert len(filled.snapshot()) == 6
    assert filled.vacuum().files == 2
    assert len(filled.snapshot()) == 6 and all(path.exists() for path in theirs)


def test_the_root_may_be_no_folder(tmp_path: Path, latents: Latents) -> None:
    (tmp_path / "file").touch()
    bank = MemoryBank(tmp_path / "file", "portraits")
    with pytest.raises(BankWriteError, match="could not be written"):
        bank.append(latents(1), latent_format="SD3")


def test_files_that_others_are_just_writing_are_not_looked_at(filled: MemoryBank) -> None:
    """Another process renames its file between the listing of the folder and a look at the file."""
    (filled.folder / "shards" / "just.renamed.tmp").symlink_to("gone")
    assert len(filled.snapshot()) == 6
