"""Locks: a file system without them is refused, and a bank that another program holds is waited for briefly."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from diversity_guidance.stores import locks
from diversity_guidance.stores.bank import database
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import BankError, BankWriteError
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.errors import IndexWriteError
from support.random_latents import SHAPE, random_latents

fcntl = pytest.importorskip("fcntl", reason="Windows locks every opened file itself")


def nothing(*_: object) -> None:
    """A lock that is granted to everybody."""


def refused(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("lock", [nothing, refused])
def test_a_file_system_without_locks_is_refused_before_anything_is_written(
    bank: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Callable[..., None]
) -> None:
    monkeypatch.setattr(locks, "_WORKING", set())
    monkeypatch.setattr(fcntl, "lockf", lock)
    with pytest.raises(BankWriteError, match=r"locks do not work on the file system of .*Keep it on a local disk"):
        bank.append(random_latents(1), latent_format="SD3")
    assert not [path for path in bank.folder.rglob("*") if path.is_file()]
    with pytest.raises(IndexWriteError, match="locks do not work"):
        IndexBuilder(tmp_path / "index", "latent:SD3", SHAPE)
    monkeypatch.undo()
    assert bank.append(random_latents(1), latent_format="SD3").added == 1


def test_locks_are_tried_once_for_each_file_system(
    bank: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_WORKING", set())
    kept, tried = locks._is_kept, []
    monkeypatch.setattr(locks, "_is_kept", lambda *given: tried.append(given) or kept(*given))
    for name in ("one", "two"):
        MemoryBank(tmp_path, name).append(random_latents(1), latent_format="SD3")
    assert len(tried) == 1


def test_a_bank_that_another_program_holds_is_waited_for_some_seconds(bank: MemoryBank) -> None:
    bank.append(random_latents(1), latent_format="SD3")
    with closing(sqlite3.connect(bank.folder / "index.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for deed, kind in (
            (lambda: bank.append(random_latents(1, seed=1), latent_format="SD3"), BankWriteError),
            (bank.snapshot, BankError),
        ):
            begun = time.monotonic()
            with pytest.raises(kind, match=r"locked.*a backup, a sync client or a virus scanner.*network drive"):
                deed()
            assert time.monotonic() - begun < 2 * database.BUSY_SECONDS < 10
