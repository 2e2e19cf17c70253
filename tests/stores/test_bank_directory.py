"""Banks in their folder: listed, renamed, copied and deleted; and banks of an earlier version."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.database import DATABASE
from diversity_guidance.stores.bank.errors import BankDamagedError, BankError, BankWriteError, ShardMissingError
from diversity_guidance.stores.bank.maintenance import directory
from diversity_guidance.stores.bank.maintenance.info import list_banks
from diversity_guidance.stores.bank.schema import LAYOUTS, VERSION
from support.random_latents import random_latents
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)
OLD = Path(__file__).with_name("bank_of_version_2.zip")
"""Six images in three appends at capacity 5, written by the version before pins and undo."""


@pytest.fixture
def filled(bank: MemoryBank, latents: Latents) -> MemoryBank:
    for seed in range(3):
        bank.append(latents(2, seed=seed), latent_format="SD3", prompts="a cat", seeds=seed)
    bank.remove([bank.snapshot().entries[0].id])
    return bank


@pytest.fixture
def old(tmp_path: Path) -> MemoryBank:
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path)
    return MemoryBank(tmp_path, "old", capacity=5)


def test_a_bank_knows_its_sizes(filled: MemoryBank) -> None:
    info = filled.info()
    latent = 4 * 3 * 2 * 2
    assert (info.live_bytes, info.history_bytes) == (5 * latent, latent)
    assert info.disk_bytes == sum(path.stat().st_size for path in filled.folder.rglob("*") if path.is_file())


def test_banks_are_listed_with_what_is_wrong_with_them(filled: MemoryBank, tmp_path: Path) -> None:
    assert list_banks(tmp_path / "nowhere") == ()
    filled.copy_to("broken")
    (tmp_path / "broken" / "index.sqlite").write_bytes(b"not a database" * 100)
    filled.copy_to("lost")
    (tmp_path / "lost" / "index.sqlite").unlink()
    (tmp_path / "notes").mkdir()
    (tmp_path / "new.0123456789abcdef0123456789abcdef.tmp" / "shards").mkdir(parents=True)
    broken, lost, portraits = list_banks(tmp_path)
    assert (broken.name, broken.info) == ("broken", None) and "is damaged" in broken.problem
    assert lost.name == "lost" and "missing or empty although its shards are there" in lost.problem
    assert portraits.problem == "" and portraits.info is not None and portraits.info.entries == 5


def test_a_renamed_bank_is_the_same(filled: MemoryBank, tmp_path: Path) -> None:
    fingerprint = filled.fingerprint()
    renamed = filled.rename("faces")
    assert renamed.name == "faces" and renamed.fingerprint() == fingerprint and len(renamed.snapshot(3)) == 6
    assert not filled.folder.exists() and filled.revision == 0
    filled.append(random_latents(1), latent_format="SD3")
    with pytest.raises(BankError, match="'portraits' is taken"):
        renamed.rename("portraits")
    with pytest.raises(ValueError, match="not a path"):
        renamed.rename("../faces")
    with pytest.raises(BankError, match="no bank 'nothing'"):
        MemoryBank(tmp_path, "nothing").rename("something")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "portraits"]


def test_a_copy_is_whole_and_stands_alone(filled: MemoryBank, tmp_path: Path) -> None:
    copied = filled.copy_to("copy")
    assert copied.fingerprint() == filled.fingerprint() and copied.verify() == ()
    assert torch.equal(
        copied.snapshot(3).matching("SD3", SHAPE).latents, filled.snapshot(3).matching("SD3", SHAPE).latents
    )
    filled.clear()
    filled.vacuum()
    filled.delete()
    assert copied.undo() == 5 and len(copied.snapshot()) == 6 and copied.verify() == ()
    with pytest.raises(BankError, match="'copy' is taken"):
        copied.copy_to("copy")
    with pytest.raises(BankError, match="no bank 'portraits'"):
        filled.copy_to("another")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_copy_follows_a_bank_that_changes_meanwhile(filled: MemoryBank, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads = directory.read_bytes, []

    def merged_meanwhile(shard: object) -> bytes:
        reads.append(shard)
        if len(reads) == 2:
            filled.compact()
        return read(shard)  # type: ignore[arg-type]

    monkeypatch.setattr(directory, "read_bytes", merged_meanwhile)
    copied = filled.copy_to("copy")
    assert copied.verify() == () and len(list((copied.folder / "shards").iterdir())) == 1


def test_a_copy_that_fails_leaves_nothing(filled: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tmp_path)._replace(free=10)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(BankWriteError, match=r"MB are needed and 0.0 MB are free.*free some space"):
            filled.copy_to("copy")
    next((filled.folder / "shards").iterdir()).unlink()
    with pytest.raises(ShardMissingError, match="bank repair"):
        filled.copy_to("copy")
    next((filled.folder / "shards").iterdir()).write_bytes(b"x")
    with pytest.raises(BankDamagedError):
        filled.copy_to("copy")
    assert [path.name for path in tmp_path.iterdir()] == ["portraits"]


def test_what_killed_copies_left_goes_after_a_day(filled: MemoryBank, tmp_path: Path) -> None:
    fresh, stale, theirs = (tmp_path / name for name in (f"new.{'0' * 32}.tmp", f"new.{'1' * 32}.tmp", "new.2.tmp"))
    for folder in (fresh, stale, theirs):
        (folder / "shards").mkdir(parents=True)
    for folder in (stale, theirs):
        for each in (folder / "shards", folder):
            os.utime(each, (0, time.time() - 2 * 24 * 3600))
    filled.copy_to("copy")
    assert fresh.exists() and theirs.exists() and not stale.exists()


def test_a_damaged_bank_can_be_deleted(filled: MemoryBank, tmp_path: Path) -> None:
    (filled.folder / "index.sqlite").write_bytes(b"x")
    (filled.folder / "shards" / "notes.txt").write_text("the user's own")
    assert filled.delete() == [filled.folder / "shards" / "notes.txt"]
    (filled.folder / "shards" / "notes.txt").unlink()
    assert filled.delete() == [] and not filled.folder.exists()


def test_a_bank_of_the_earlier_version_is_read_without_a_change(old: MemoryBank) -> None:
    before = {path: path.read_bytes() for path in old.folder.rglob("*") if path.is_file()}
    snapshot = old.snapshot()
    assert (old.revision, len(snapshot), old.info().pinned) == (3, 5, 0)
    assert old.fingerprint() == "9ca7667349a056f8d639905f0141656edbb3119d42f10a326697cce12482e75d"
    assert snapshot.digest == "c49315ca037be066252a9fd8ce6635daf4d8e3e56ed141abec2c574d83973126"
    expected = torch.cat([random_latents(2, seed=seed) for seed in range(3)]).half()
    assert torch.equal(snapshot.matching("SD3", SHAPE).latents, expected[1:])
    assert torch.equal(old.snapshot(2).matching("SD3", SHAPE).latents, expected[:4])
    assert snapshot.encoder == "ab12" and len(snapshot.features("clip")[0]) == 5
    assert old.verify() == () and list_banks(old.folder.parent)[0].problem == ""
    assert {path: path.read_bytes() for path in old.folder.rglob("*") if path.is_file()} == before


def test_a_bank_of_version_3_is_read_and_upgraded(filled: MemoryBank) -> None:
    expected = filled.snapshot()
    with closing(sqlite3.connect(filled.folder / DATABASE)) as database:
        for what in ("TABLE state", "INDEX pins", "INDEX removals", "INDEX pinned_revisions"):
            database.execute(f"DROP {what}")
        database.execute("PRAGMA user_version = 3")
        before = [sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        assert before == list(LAYOUTS[3])
        assert filled.snapshot() == expected and filled.verify() == () and filled.info().entries == 5
        filled.pin([expected.entries[0].id])
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert filled.snapshot() == expected and filled.snapshot().entries[0].pinned


def test_a_bank_of_the_earlier_version_takes_every_change(old: MemoryBank) -> None:
    copied = old.copy_to("copy")
    first = [entry.id for entry in old.snapshot().entries]
    for bank in (old, copied):
        bank.pin(first[:1])
        assert bank.fingerprint() == "9ca7667349a056f8d639905f0141656edbb3119d42f10a326697cce12482e75d"
        assert bank.undo() == 4 and len(bank.snapshot()) == 4 and bank.snapshot().entries[1].pinned
        assert bank.append(random_latents(3, seed=8), latent_format="SD3", encoder="ab12").evicted == 2
        assert [entry.id for entry in bank.snapshot().entries][:2] == [first[0], first[2]]
        assert bank.verify() == () and len(bank.snapshot(2)) == 4
