"""Several processes, deaths at one place, full disks and folders that may not be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.shards import SHARD_BYTES
from support.bank_processes import (
    append_with_little_disk,
    die_before_publishing,
    keep_appending,
    load_measured,
    use_without_permission,
)
from support.processes import finish, start
from support.random_latents import SHAPE
from torch import Tensor

Latents = Callable[..., Tensor]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes: run it on Linux or macOS")


def test_appends_of_two_processes_both_survive(bank: MemoryBank, latents: Latents) -> None:
    finish(*(start(keep_appending, bank, first, 15) for first in (0, 100)))
    snapshot = bank.snapshot()
    assert bank.revision == 30 and len(snapshot) == 60
    for first in (0, 100):
        mine = [int(entry.prompt or 0) for entry in snapshot.entries if int(entry.prompt or 0) // 100 == first // 100]
        assert mine == [seed for seed in range(first, first + 15) for _ in range(2)]
    assert bank.verify() == ()


def test_the_same_content_from_two_processes_is_there_once(bank: MemoryBank, latents: Latents) -> None:
    finish(*(start(keep_appending, bank, 0, 10) for _ in range(2)))
    assert bank.revision == 10 and len(bank.snapshot().matching("SD3", SHAPE)) == 20


def test_a_death_between_shard_and_publication_is_not_seen(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(1), latent_format="SD3")
    finish(start(die_before_publishing, bank))
    assert len(list((bank.folder / "shards").iterdir())) == 2
    assert bank.revision == 1 and len(bank.snapshot()) == 1
    assert bank.append(latents(2, seed=1), latent_format="SD3").added == 2
    assert bank.vacuum().files == 0


def test_a_death_during_the_first_append_leaves_an_empty_bank(bank: MemoryBank, latents: Latents) -> None:
    finish(start(die_before_publishing, bank))
    assert bank.revision == 0 and len(bank.snapshot()) == 0
    assert bank.vacuum().files == 1
    assert bank.append(latents(2, seed=1), latent_format="SD3").added == 2


@pytest.mark.parametrize("what", ["shard", "index"])
def test_a_full_disk_leaves_the_bank_as_it_was(bank: MemoryBank, latents: Latents, what: str) -> None:
    bank.append(latents(2), latent_format="SD3")
    fingerprint = bank.fingerprint()
    files = sorted(bank.folder.rglob("*"))
    limit = (bank.folder / "index.sqlite").stat().st_size
    shape = (1, limit) if what == "shard" else SHAPE
    finish(start(append_with_little_disk, bank, limit, shape, "" if what == "shard" else "prompt " * limit))
    assert sorted(bank.folder.rglob("*")) == files
    assert bank.fingerprint() == fingerprint and bank.verify() == ()
    assert bank.append(latents(2, seed=1, shape=shape), latent_format="SD3").added == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc: run it on Linux")
def test_loading_needs_the_banks_own_size_and_a_few_shards(bank: MemoryBank, latents: Latents) -> None:
    shape = (4, 512, SHARD_BYTES // 2 // 4 // 512)  # one latent fills a shard
    for seed in range(6):
        bank.append(latents(1, seed=seed, shape=shape), latent_format="SD3")
    finish(start(load_measured, bank, shape))


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A folder that other users may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_may_not_be_written_can_be_read(open_root: Path, latents: Latents) -> None:
    bank = MemoryBank(open_root, "portraits")
    hidden = open_root / "hidden"
    bank.append(latents(1), latent_format="SD3")
    hidden.mkdir()
    closed = [hidden, bank.folder / "shards", bank.folder, open_root]
    modes = [path.stat().st_mode for path in closed]
    (bank.folder / "index.sqlite").chmod(0o444)
    try:
        for path in closed:
            path.chmod(0o000 if path == hidden else 0o555)
        finish(start(use_without_permission, bank))
    finally:
        for path, mode in reversed(list(zip(closed, modes, strict=True))):
            path.chmod(mode)
