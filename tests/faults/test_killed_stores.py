"""Sudden death of a process that writes a store: nothing acknowledged is lost, and a build goes on where it stopped."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sys
import time
from pathlib import Path

import pytest
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.entries import content_id
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.checksummed_json import read_checksummed
from diversity_guidance.stores.protected.index import ProtectedIndex
from support.bank_processes import append_until_killed
from support.index_processes import PART_ROWS, PARTS, build_or_resume, content
from support.processes import start
from support.random_latents import SHAPE, random_latents

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes: run it on Linux or macOS")

CAPACITY = 20


def rounds(short: int, long: int) -> pytest.MarkDecorator:
    """How many processes are killed, in the suite and in a campaign."""
    return pytest.mark.parametrize("kills", [short, pytest.param(long, marks=pytest.mark.campaign)])


def identities(seed: int) -> list[str]:
    """Of the entries that a process appends with a seed."""
    return [content_id(latent, "SD3") for latent in random_latents(3, seed=seed).half()]


def appended_until_killed(bank: MemoryBank, first_seed: int, wait: float) -> list[int]:
    """The seeds that a process acknowledged: it is killed so long after the first."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = start(append_until_killed, bank, first_seed, sender)
    sender.close()
    told = [receiver.recv()]
    time.sleep(wait)
    process.kill()
    process.join()
    while receiver.poll():
        try:
            told.append(receiver.recv())
        except EOFError:
            break
    receiver.close()
    return told


@rounds(15, 400)
def test_every_acknowledged_append_survives_a_kill(tmp_path: Path, kills: int) -> None:
    bank, moments = MemoryBank(tmp_path, "portraits", capacity=CAPACITY), random.Random(0)
    acknowledged, newest, seeds = 0, 0, list[int]()
    for number in range(kills):
        told = appended_until_killed(bank, number * 10_000, moments.uniform(0, 0.2))
        acknowledged += len(told)
        seeds += told
        assert bank.revision in (newest + len(told), newest + len(told) + 1)
        if bank.revision > newest + len(told):
            seeds.append(told[-1] + 1)  # it died between publishing and telling
        newest = bank.revision
        view = bank.snapshot().matching("SD3", SHAPE)
        expected = [name for seed in seeds[-CAPACITY:] for name in identities(seed)][-CAPACITY:]
        assert list(view.ids) == expected == [content_id(latent, "SD3") for latent in view.latents]
        assert len(bank.snapshot().features("x")[0]) == len(expected)
    assert bank.verify() == ()
    bank.vacuum()
    used = {source.shard.path for parts in bank.snapshot().parts for source in parts.values()}
    assert set((bank.folder / "shards").iterdir()) == used
    sys.stdout.write(f"{kills} kills, {acknowledged} acknowledged appends, lost: 0\n")  # pytest -rP shows it


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that was built in one go."""
    folder = tmp_path_factory.mktemp("whole")
    build_or_resume(folder)
    return folder


def changed_until_killed(folder: Path, wait: float) -> None:
    """Build an index, or go on with it, in a process that is killed so long after it began."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = start(build_or_resume, folder, sender)
    sender.close()
    receiver.recv()
    time.sleep(wait)
    process.kill()
    process.join()
    receiver.close()


@rounds(15, 400)
def test_a_build_that_is_killed_resumes_and_ends_equal(tmp_path: Path, whole: Path, kills: int) -> None:
    moments, expected = random.Random(0), content(whole)
    begun = time.monotonic()
    build_or_resume(tmp_path / "timed")
    latest = 1.2 * (time.monotonic() - begun)
    stopped_early = 0
    for number in range(kills):
        folder = tmp_path / str(number)
        changed_until_killed(folder, moments.uniform(0, latest))
        published = (folder / "manifest.json").is_file()
        stopped_early += not published
        # However quick the machine is just now, kills fall before, around and after the publication.
        latest *= 0.8 if published else 1.1
        build_or_resume(folder)
        if content(folder) != expected:
            # The kill came after the publication: what was built again is the next one of the same content.
            assert ProtectedIndex.open(folder).fingerprint() == ProtectedIndex.open(whole).fingerprint()
            assert read_checksummed(folder / "manifest.json")["generation"] == 2
        assert ProtectedIndex.open(folder).verify() == []
        shutil.rmtree(folder)
    assert stopped_early >= kills // 4
    sys.stdout.write(f"{kills} kills, {stopped_early} before the publication, lost: 0\n")  # pytest -rP shows it


@rounds(6, 200)
def test_a_change_that_is_killed_leaves_the_old_index_or_the_new(tmp_path: Path, whole: Path, kills: int) -> None:
    moments = random.Random(1)
    before, latest, stopped_early = ProtectedIndex.open(whole).fingerprint(), 0.1, 0
    for number in range(kills):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        with IndexBuilder.opened(folder) as builder:
            builder.remove([f"0/{row}.png" for row in range(5)])
            builder.finish()
        smaller = ProtectedIndex.open(folder).fingerprint()
        changed_until_killed(folder, moments.uniform(0, latest))
        index = ProtectedIndex.open(folder)
        assert index.verify() == []
        published = index.fingerprint() != smaller
        assert not published or len(index) > PARTS * PART_ROWS - 6
        stopped_early += not published
        latest *= 0.8 if published else 1.2
        shutil.rmtree(folder)
    assert ProtectedIndex.open(whole).fingerprint() == before
    sys.stdout.write(f"{kills} kills, {stopped_early} before the publication, lost: 0\n")  # pytest -rP shows it
