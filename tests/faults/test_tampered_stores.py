"""Random damage to a store's files: what is read is right, or refused or told with a sentence."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import BankError
from diversity_guidance.stores.protected.index import ProtectedIndex
from support.index_data import build, references
from support.random_latents import SHAPE, random_latents
from torch import Tensor

COUNT = 4
"""Images of an append."""


def times(short: int, long: int) -> pytest.MarkDecorator:
    """So many random damages, or in a campaign so many more."""
    return pytest.mark.parametrize("times", [short, pytest.param(long, marks=pytest.mark.campaign)])


def flip(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 1, 8, 64])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def cut(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def grow(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data) + chance.randbytes(chance.choice([1, 100, 5000]))


def overwrite(data: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    data[start : start + 512] = chance.randbytes(min(512, len(data) - start))
    return bytes(data)


DAMAGES: tuple[Callable[[bytearray, random.Random], bytes], ...] = (flip, flip, cut, grow, overwrite)


def damage(folder: Path, chance: random.Random) -> str:
    """Change, remove or exchange one of the files below a folder; what was done."""
    path = chance.choice(sorted(each for each in folder.rglob("*") if each.is_file() and each.stat().st_size))
    kind = chance.choice([*DAMAGES, None])
    if kind is None:
        path.unlink()
        return f"removed {path.name}"
    path.write_bytes(kind(bytearray(path.read_bytes()), chance))
    return f"{kind.__name__} {path.name}"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> MemoryBank:
    """A bank of three shards."""
    bank = MemoryBank(tmp_path_factory.mktemp("banks"), "whole")
    for seed in range(3):
        thumbnails = torch.zeros(COUNT, 8, 8, 3, dtype=torch.uint8)
        bank.append(random_latents(COUNT, seed=seed), latent_format="SD3", thumbnails=thumbnails)
    return bank


@times(60, 3000)
def test_a_damaged_bank_gives_what_was_saved_or_a_sentence(bank: MemoryBank, tmp_path: Path, times: int) -> None:
    """A flipped bit of the database may change a name into another; what is saved is named by its hash."""
    saved = {latent.numpy().tobytes() for latent in bank.snapshot().matching("SD3", SHAPE).latents}
    chance = random.Random(0)
    for number in range(times):
        root = tmp_path / "banks"
        shutil.copytree(bank.folder, root / "whole")
        done = f"{number}: {damage(root / 'whole', chance)}"
        theirs = MemoryBank(root, "whole")
        refused = []
        for act in (theirs.verify, theirs.info, theirs.repair):
            try:
                act()
            except BankError as error:
                assert str(error).endswith("."), done
                refused.append(act)
        try:
            found = theirs.snapshot().matching("SD3", SHAPE)
            assert theirs.repair in refused or theirs.verify() == (), done
        except BankError:
            assert refused, done
        else:
            assert {latent.numpy().tobytes() for latent in found.latents} <= saved, done
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    build(folder, references("normal", 40, 24, 0), shape=(4, 3, 2), shard_bytes=2048)
    return folder


def contents(folder: Path) -> tuple[ProtectedIndex, list[str], Tensor]:
    """An index, the names of its references, and their vectors (N, D)."""
    index = ProtectedIndex.open(folder)
    numbers = np.arange(len(index))
    return index, [index.name(number) for number in numbers.tolist()], torch.as_tensor(index.read(numbers))


@times(60, 3000)
def test_a_damaged_index_is_whole_refused_or_told_by_verify(index: Path, tmp_path: Path, times: int) -> None:
    _, names, vectors = contents(index)
    chance = random.Random(0)
    for number in range(times):
        copy = tmp_path / "index"
        shutil.copytree(index, copy)
        done = f"{number}: {damage(copy, chance)}"
        try:
            theirs, found_names, found = contents(copy)
            told = theirs.verify()
        except ValueError as error:
            assert str(error).endswith("."), done
        else:
            assert told or (found_names == names and torch.equal(found, vectors)), done
        shutil.rmtree(copy)


@times(300, 20_000)
def test_a_crowded_bank_folder_is_used_and_left_as_it_is(tmp_path: Path, times: int) -> None:
    """Other banks, foreign files, folders, links to nowhere and other programs' temporary files."""
    bank = MemoryBank(tmp_path, "ours")
    first = bank.append(random_latents(COUNT), latent_format="SD3")
    foreign: list[Path] = []
    for number in range(times):
        home = bank.folder if number % 2 else bank.folder / "shards"
        home.mkdir(exist_ok=True)
        kinds = (f"note {number}.txt", f".{number}.tmp", f"._{number}", f"{number:032x}.old", f"link {number}")
        path = home / kinds[number % 5]
        if number % 5 == 4:
            path.symlink_to(tmp_path / "nowhere")
        else:
            path.write_bytes(b"theirs")
        foreign.append(path)
    second = bank.append(random_latents(COUNT, seed=1), latent_format="SD3")
    assert len(bank.snapshot().matching("SD3", SHAPE)) == 2 * COUNT and first != second
    assert bank.verify() == ()
    bank.compact()
    bank.vacuum()
    bank.repair()
    assert len(bank.snapshot().matching("SD3", SHAPE)) == 2 * COUNT
    assert [path for path in foreign if not path.is_symlink() and not path.exists()] == []
