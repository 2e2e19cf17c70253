"""Banks from strangers: what may lie in a bank's folder, and what is done with it in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import safetensors.torch
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from support.random_latents import SHAPE, random_latents

COUNT = 3
MEMORY = 6 * 2**30
SECONDS = 20
OUTSIDE = "../../../outside/victim"


def filled(root: Path) -> MemoryBank:
    """A bank of ``COUNT`` images with thumbnails in one shard, and of one image in another."""
    bank = MemoryBank(root, "theirs")
    bank.append(random_latents(COUNT), latent_format="SD3", thumbnails=torch.zeros(COUNT, 8, 8, 3, dtype=torch.uint8))
    bank.append(random_latents(1, seed=1), latent_format="SD3")
    return bank


def change(bank: MemoryBank, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Run statements on the bank's database."""
    with closing(sqlite3.connect(bank.folder / "index.sqlite", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement, values[: statement.count("?")])


def first_shard(bank: MemoryBank) -> Path:
    """The file of the first three images."""
    source = bank.snapshot().parts[0]["latents"]
    return source.shard.path


def replace_shard(bank: MemoryBank, data: bytes) -> None:
    """Put other bytes in the place of the first shard, under their own hash."""
    old = first_shard(bank)
    old.unlink()
    digest = hashlib.sha256(data).hexdigest()[:32]
    old.with_name(digest + old.suffix).write_bytes(data)
    change(bank, "UPDATE shards SET digest = ?, size = ? WHERE digest = ?", values=(digest, len(data), old.stem))
    change(bank, "UPDATE parts SET shard = ? WHERE shard = ?", values=(digest, old.stem))


def pretend(bank: MemoryBank, size: int, make: Callable[[Path], object]) -> None:
    """Put something that is no plain file of that size in the place of the first shard."""
    shard = first_shard(bank)
    shard.unlink()
    make(shard)
    change(bank, "UPDATE shards SET size = ? WHERE digest = ?", values=(size, shard.stem))


def sparse(size: int) -> Callable[[Path], None]:
    """Makes a file of that size which takes no room."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def headed(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensors(**values: torch.Tensor) -> bytes:
    """A safetensors file."""
    return safetensors.torch.save(values)


LATENTS = torch.zeros(COUNT, *SHAPE)
IN_THE_FIRST = "WHERE position <= 3 AND name = 'latents'"
NONSENSE: dict[str, Callable[[MemoryBank], None]] = {
    "shape of a part": lambda bank: change(bank, f"UPDATE parts SET shape = 'x' {IN_THE_FIRST}"),
    "huge part": lambda bank: change(bank, f"UPDATE parts SET shape = '1000000000,1000000000' {IN_THE_FIRST}"),
    "negative shape": lambda bank: change(bank, f"UPDATE parts SET shape = '-1,8,8' {IN_THE_FIRST}"),
    "row beyond": lambda bank: change(bank, f"UPDATE parts SET row = 1000000000 {IN_THE_FIRST}"),
    "row below": lambda bank: change(bank, f"UPDATE parts SET row = -1 {IN_THE_FIRST}"),
    "row of text": lambda bank: change(bank, f"UPDATE parts SET row = 'x' {IN_THE_FIRST}"),
    "half a row": lambda bank: change(bank, f"UPDATE parts SET row = 0.5 {IN_THE_FIRST}"),
    "type of a part": lambda bank: change(bank, f"UPDATE parts SET dtype = 'object' {IN_THE_FIRST}"),
    "name of a part": lambda bank: change(bank, f"UPDATE parts SET name = 'nothing' {IN_THE_FIRST}"),
    "missing rows": lambda bank: change(bank, f"DELETE FROM parts {IN_THE_FIRST}"),
    "format of bytes": lambda bank: change(bank, "UPDATE entries SET latent_format = x'ff' WHERE position <= 3"),
    "prompt of bytes": lambda bank: change(bank, "UPDATE entries SET prompt = x'ff00' WHERE position <= 3"),
    "identity": lambda bank: change(bank, "UPDATE entries SET id = position WHERE position <= 3"),
    "seed": lambda bank: change(bank, "UPDATE entries SET seed = 'many' WHERE position <= 3"),
    "shape of an entry": lambda bank: change(bank, "UPDATE entries SET shape = '4,9,9' WHERE position <= 3"),
    "size of bytes": lambda bank: change(
        bank, "UPDATE shards SET size = x'00' WHERE digest IN (SELECT shard FROM parts WHERE position = 1)"
    ),
    "no tensors": lambda bank: replace_shard(bank, tensors(x=torch.zeros(1))),
    "NaN": lambda bank: replace_shard(bank, tensors(latents=(LATENTS * float("nan")).half())),
    "another shape": lambda bank: replace_shard(bank, tensors(latents=torch.zeros(1, 1).half())),
    "a shape that stretches": lambda bank: replace_shard(bank, tensors(latents=torch.zeros(COUNT, 1, 1, 1).half())),
    "another type": lambda bank: replace_shard(bank, tensors(latents=LATENTS.long())),
    "one part for many": lambda bank: change(
        bank,
        *(
            f"INSERT INTO parts SELECT position, 'features/{n}', shard, row, shape, dtype, added FROM parts "
            f"{IN_THE_FIRST}"
            for n in range(3)
        ),
    ),
}
"""What a database or a file may say of the first three images: they are passed over or kept, the fourth is there."""

FOREIGN: dict[str, Callable[[MemoryBank], None]] = {
    "a device": lambda bank: pretend(bank, 0, lambda path: path.symlink_to("/dev/zero")),
    "a device of a size": lambda bank: pretend(bank, 100, lambda path: path.symlink_to("/dev/zero")),
    "a pipe": lambda bank: pretend(bank, 0, os.mkfifo),
    "a pipe of a size": lambda bank: pretend(bank, 100, os.mkfifo),
    "a sparse file": lambda bank: pretend(bank, 8 * 2**30, sparse(8 * 2**30)),
    "a sparse file of another size": lambda bank: pretend(bank, 500, sparse(8 * 2**30)),
    "a link outside": lambda bank: pretend(bank, 100, lambda path: path.symlink_to(OUTSIDE + path.suffix)),
    "a path outside": lambda bank: change(
        bank,
        f"UPDATE parts SET shard = '../{OUTSIDE}' WHERE position <= 3",
        f"UPDATE shards SET digest = '../{OUTSIDE}', size = 100 WHERE digest NOT IN (SELECT shard FROM parts)",
    ),
    "a linked folder of shards": lambda bank: linked(bank.folder / "shards"),
    "a linked folder": lambda bank: linked(bank.folder),
    "a pipe as database": lambda bank: instead(bank.folder / "index.sqlite", os.mkfifo),
    "a device as database": lambda bank: instead(
        bank.folder / "index.sqlite", lambda path: path.symlink_to("/dev/zero")
    ),
    "a linked journal": lambda bank: (bank.folder / "index.sqlite-journal").symlink_to(
        bank.folder.parent.parent / "outside" / "victim.safetensors"
    ),
    "a journal that deletes": lambda bank: deleting_journal(bank),
    "a trigger": lambda bank: change(
        bank, "CREATE TRIGGER theirs AFTER INSERT ON entries BEGIN DELETE FROM entries; END"
    ),
    "a view": lambda bank: change(
        bank, "ALTER TABLE shards RENAME TO theirs", "CREATE VIEW shards AS SELECT * FROM theirs"
    ),
    "no revision": lambda bank: change(bank, "DELETE FROM revisions"),
    "a header of 2^62 bytes": lambda bank: replace_shard(bank, struct.pack("<Q", 2**62) + b"{}"),
    "a short header": lambda bank: replace_shard(bank, struct.pack("<Q", 100) + b"{}"),
    "offsets beyond": lambda bank: replace_shard(
        bank, headed({"latents": {"dtype": "F16", "shape": [3, *SHAPE], "data_offsets": [0, 10**15]}})
    ),
    "a shape that overflows": lambda bank: replace_shard(
        bank, headed({"latents": {"dtype": "F16", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, bytes(8))
    ),
    "an unknown type": lambda bank: replace_shard(
        bank, headed({"latents": {"dtype": "F99", "shape": [1], "data_offsets": [0, 8]}}, bytes(8))
    ),
    "a pickle": lambda bank: replace_shard(bank, b"\x80\x04cposix\nsystem\n(S'touch pwned'\ntR."),
}
"""What no bank writes: it is told in a sentence, and nothing outside the bank is touched."""


def linked(folder: Path) -> None:
    """Move a folder away and leave a link to it."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere, target_is_directory=True)


def instead(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in a file's place."""
    path.unlink()
    make(path)


def deleting_journal(bank: MemoryBank) -> None:
    """A journal that has to be rolled back and names a file that SQLite deletes when that is done."""
    victim = str(bank.folder.parent.parent / "outside" / "victim.safetensors").encode()
    page = (bank.folder / "index.sqlite").read_bytes()[:4096]
    magic = bytes.fromhex("d9d505f920a163d7")
    pages = len((bank.folder / "index.sqlite").read_bytes()) // 4096
    header = magic + struct.pack(">5I", 1, 0, pages, 512, 4096)
    total = sum(page[at] for at in range(4096 - 200, 0, -200)) & 0xFFFFFFFF
    record = struct.pack(">I", 1) + page + struct.pack(">I", total)
    name = struct.pack(">I", 2**30 // 4096 + 1) + victim + struct.pack(">2I", len(victim), sum(victim)) + magic
    (bank.folder / "index.sqlite-journal").write_bytes(header.ljust(512, b"\0") + record + name)


def use_everything(root: Path) -> None:
    """Do all that can be done with each tampered bank, in little memory and time; every failure is a sentence of ours.

    Nothing outside the bank is touched.
    """
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number, (case, tamper) in enumerate({**NONSENSE, **FOREIGN}.items()):
        bank = filled(root / str(number) / "banks")
        victim = root / str(number) / "outside" / "victim.safetensors"
        victim.parent.mkdir()
        victim.write_bytes(b"x" * 100)
        tamper(bank)
        outside = [path for path in (root / str(number)).rglob("*") if bank.folder not in path.parents]
        sys.stderr.write(f"{case}\n")  # a failing test shows it
        signal.alarm(SECONDS)
        _use(bank)
        signal.alarm(0)
        assert victim.read_bytes() == b"x" * 100, case
        assert [path for path in outside if not os.path.lexists(path)] == [], case


def _use(bank: MemoryBank) -> None:
    deeds: tuple[Callable[[], object], ...] = (
        bank.snapshot,
        bank.fingerprint,
        bank.info,
        lambda: bank.snapshot().matching("SD3", SHAPE),
        lambda: bank.snapshot().thumbnails([entry.id for entry in bank.snapshot().entries]),
        bank.verify,
        lambda: bank.append(random_latents(1, seed=2), latent_format="SD3"),
        bank.vacuum,
        bank.repair,
        bank.verify,
        lambda: bank.snapshot().matching("SD3", SHAPE),
    )
    for deed in deeds:
        try:
            deed()
        except ValueError as error:
            told = str(error)
            assert type(error).__module__.startswith("diversity_guidance"), repr(error)
            assert told[0].isupper() and told.endswith("."), told
