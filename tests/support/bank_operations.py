"""Operations on Memory Banks, each repeated until the process is killed, and told before and after."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.exchange.reader import open_archive
from diversity_guidance.stores.bank.exchange.writer import export_bank
from diversity_guidance.stores.bank.maintenance.info import list_banks
from support.random_latents import random_latents

CAPACITY = 24
NAMES = ("ours", "renamed")
EXPORTED = "exported.safetensors"


def the_bank(root: Path) -> MemoryBank:
    """The one bank of a folder, whichever of its names it has."""
    return next(MemoryBank(root, name, capacity=CAPACITY) for name in NAMES if (root / name).exists())


def filled(root: Path) -> MemoryBank:
    """A bank of a few images in several revisions, with previews and features."""
    bank = MemoryBank(root, NAMES[0], capacity=CAPACITY)
    for seed in range(4):
        _append(bank, seed)
    return bank


def _append(bank: MemoryBank, seed: int) -> None:
    bank.append(
        random_latents(4, seed=seed),
        latent_format="SD3",
        prompts=str(seed),
        thumbnails=torch.full((4, 4, 4, 3), seed % 256, dtype=torch.uint8),
        features={"x": random_latents(4, seed=seed, shape=(6,))},
    )


Step = Callable[[], object]


def _steps(name: str, root: Path, number: int) -> list[Step]:
    """An operation once, and what it needs to be done again."""
    bank = the_bank(root)
    ids = [entry.id for entry in bank.snapshot().entries]
    copied = MemoryBank(root, f"copy {number}")

    def append() -> None:
        _append(bank, number)

    def pin_newest() -> None:
        bank.pin_revision(bank.revision)

    def unpin_before() -> None:
        bank.pin_revision(bank.revision - 1, pinned=False)

    def copy() -> None:
        bank.copy_to(copied.name)

    steps: dict[str, list[Step]] = {
        "append": [append],
        "remove": [lambda: bank.remove(ids[::3]), append],
        "clear": [bank.clear, append],
        "undo": [append, bank.undo],
        "restore": [lambda: bank.remove(ids[:2]), lambda: bank.restore(bank.revision - 1)],
        "pin": [lambda: bank.pin(ids[::2]), lambda: bank.pin(ids, pinned=False)],
        "pin revision": [pin_newest, append, unpin_before],
        "vacuum": [append, bank.vacuum, bank.compact],
        "repair": [append, bank.repair],
        "rename": [lambda: bank.rename(NAMES[bank.name == NAMES[0]])],
        "copy": [copy],
        "delete": [copy, copied.delete],
        "export": [lambda: export_bank(bank.snapshot(), root / EXPORTED), append],
        "import": [lambda: _import(bank, root), bank.clear],
    }
    return steps[name]


OPERATIONS = (
    *("append", "remove", "clear", "undo", "restore", "pin", "pin revision", "vacuum", "repair"),
    *("rename", "copy", "delete", "export", "import"),
)


def _import(bank: MemoryBank, root: Path) -> None:
    archive = open_archive(root / EXPORTED)
    bank.take_in(archive.batches(), archive.latent_format, archive.encoder, archive.digest)


def operate_until_killed(name: str, root: Path, seed: int, told: Connection) -> None:
    """Repeat an operation for ever; tells the bank's revision before each step, and after it."""
    for number in count(seed):
        for step in _steps(name, root, number):
            told.send(("before", the_bank(root).revision))
            step()
            told.send(("after", the_bank(root).revision))


def whole(root: Path) -> list[str]:
    """What is wrong with the banks of a folder, by what can be read of them."""
    wrong: list[str] = []
    for listed in list_banks(root):
        bank = MemoryBank(root, listed.name)
        if listed.info is None:
            wrong.append(listed.problem)
            continue
        wrong += [damage.reason for damage in bank.verify()]
    return wrong
