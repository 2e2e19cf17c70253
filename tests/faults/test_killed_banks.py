"""A kill at a random moment of every operation on a Memory Bank: it is as it was before, or as it is after."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import pytest
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.entries import content_id
from diversity_guidance.stores.bank.exchange.reader import open_archive
from diversity_guidance.stores.bank.exchange.writer import export_bank
from support.bank_operations import CAPACITY, EXPORTED, NAMES, OPERATIONS, filled, operate_until_killed, the_bank, whole
from support.processes import start
from support.random_latents import SHAPE, random_latents

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes: run it on Linux or macOS")

SECONDS = 0.25
"""Within which a process is killed after its first step."""


def operated_until_killed(name: str, root: Path, seed: int, wait: float) -> tuple[str, int]:
    """The last thing that a process tells before it is killed so long after its first step."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = start(operate_until_killed, name, root, seed, sender)
    sender.close()
    told = receiver.recv()
    time.sleep(wait)
    process.kill()
    process.join()
    while receiver.poll():
        try:
            told = receiver.recv()
        except EOFError:
            break
    receiver.close()
    return told


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.campaign)])
def test_a_kill_leaves_the_bank_whole(tmp_path: Path, operation: str, kills: int) -> None:
    moments, bank, midway = random.Random(OPERATIONS.index(operation)), filled(tmp_path), 0
    if operation in ("export", "import"):
        export_bank(bank.snapshot(), tmp_path / EXPORTED)
    if operation == "import":
        bank.clear()
    for number in range(kills):
        moment, revision = operated_until_killed(operation, tmp_path, 1000 * number, moments.uniform(0, SECONDS))
        midway += moment == "before"
        bank = the_bank(tmp_path)
        assert [name for name in NAMES if (tmp_path / name).exists()] == [bank.name], "one bank, under one name"
        assert bank.revision in (revision, revision + (moment == "before"))
        if operation != "delete":  # a copy that was being deleted may lack files
            assert whole(tmp_path) == []
        assert bank.verify() == ()
        view = bank.snapshot().matching("SD3", SHAPE)
        assert list(view.ids) == [content_id(latent, "SD3") for latent in view.latents]
        assert len(bank.snapshot().features("x")[0]) == len(view) == len(bank.snapshot().thumbnails(view.ids))
        if operation in ("export", "import"):
            assert len(open_archive(tmp_path / EXPORTED).images) <= CAPACITY
        if operation == "import":
            assert len(view) in (0, 16)
            bank.clear()
        for copy in tmp_path.glob("copy *"):
            if operation == "copy":
                assert MemoryBank(tmp_path, copy.name).fingerprint() == bank.fingerprint()
            MemoryBank(tmp_path, copy.name).delete()
    # It goes on as if nothing had happened, and a vacuum leaves no file that is not used.
    assert bank.append(random_latents(3, seed=-1), latent_format="SD3").added == 3
    for revision in bank.info().pinned_revisions:
        bank.pin_revision(revision, pinned=False)
    bank.vacuum()
    used = {source.shard.path for parts in bank.snapshot().parts for source in parts.values()}
    assert used == set((bank.folder / "shards").iterdir())
    sys.stdout.write(f"{operation}: {kills} kills, {midway} within a step, damaged: 0\n")  # pytest -rP shows it
