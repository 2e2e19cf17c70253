"""Protected Indexes from strangers, and what is done with them in a process of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from diversity_guidance.stores.files import digest_of
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.checksummed_json import read_checksummed, write_checksummed
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.manifest import read_manifest
from support.index_data import SPACE, build, references
from support.strangers import MEMORY, SECONDS, sparse

SHAPE = (4, 3, 2)
COUNT = 40
SPARSE = 8 * 2**30


def theirs(folder: Path) -> Path:
    """An index of some vectors in one shard, and a build that was begun."""
    build(folder, references("normal", COUNT, 24, 0), shape=SHAPE, shard_bytes=4096)
    with IndexBuilder.opened(folder) as builder:
        builder.append(torch.zeros(1, *SHAPE), ["begun"])
    return folder


def edit(folder: Path, **changes: Any) -> None:
    """Change the manifest, with a checksum that fits."""
    write_checksummed(folder / "manifest.json", {**read_checksummed(folder / "manifest.json"), **changes})


def file_of(folder: Path, suffix: str) -> Path:
    """The file of this kind."""
    (path,) = (folder / "shards").glob(f"*{suffix}")
    return path


def swap(folder: Path, suffix: str, make: Callable[[Path], object]) -> None:
    """Put something else in a file's place."""
    path = file_of(folder, suffix)
    path.unlink()
    make(path)


def reword(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the shard's table, and its name with it."""
    path = file_of(folder, ".safetensors")
    tensors = safetensors.numpy.load(path.read_bytes())
    change(tensors)
    _rename(folder, "table", safetensors.numpy.save(tensors))


def _rename(folder: Path, what: str, data: bytes) -> None:
    digest = digest_of(data)
    (shard,) = read_manifest(folder).shards
    suffix = {"table": ".safetensors", "rows": ".f16"}[what]
    (folder / "shards" / f"{digest}{suffix}").write_bytes(data)
    edit(folder, shards=[asdict(replace(shard, **{what: digest}))])


def part_of(folder: Path) -> Path:
    """The part of the build that was begun."""
    (path,) = folder.glob("building-*/*.safetensors")
    return path


def replace_part(folder: Path, data: bytes) -> None:
    """Put another part in its place, under its own hash."""
    path = part_of(folder)
    path.with_name(f"00000000-{digest_of(data)}.safetensors").write_bytes(data)
    path.unlink()


def many(folder: Path, shards: int) -> None:
    """A manifest that names the same shard again and again."""
    edit(folder, shards=[asdict(read_manifest(folder).shards[0])] * shards)


ZEROS = np.zeros(1, np.int64)
OPEN: dict[str, Callable[[Path], object]] = {
    "a filter outside, of no shards": lambda folder: edit(folder, shards=[], filter="../../outside/victim"),
    "rows outside": lambda folder: edit(
        folder, shards=[{**asdict(read_manifest(folder).shards[0]), "rows": "../../outside/victim"}]
    ),
    "100,000 equal shards": lambda folder: many(folder, 100_000),
    "a negative count": lambda folder: edit(folder, shards=[{**asdict(read_manifest(folder).shards[0]), "count": -1}]),
    "a count of text": lambda folder: edit(folder, shards=[{**asdict(read_manifest(folder).shards[0]), "count": "x"}]),
    "shards of text": lambda folder: edit(folder, shards=["x"]),
    "no list of shards": lambda folder: edit(folder, shards=7),
    "a shape of text": lambda folder: edit(folder, shape=["x"]),
    "no shape": lambda folder: edit(folder, shape=[]),
    "a space of numbers": lambda folder: edit(folder, space=7),
    "a true generation": lambda folder: edit(folder, generation=True),
    "deep JSON": lambda folder: (folder / "manifest.json").write_text("[" * 200_000),
    "a pipe as manifest": lambda folder: ((folder / "manifest.json").unlink(), os.mkfifo(folder / "manifest.json")),
    "a sparse manifest": lambda folder: sparse(SPARSE)(folder / "manifest.json"),
    "rows of a device": lambda folder: swap(folder, ".f16", lambda path: path.symlink_to("/dev/zero")),
    "rows of a pipe": lambda folder: swap(folder, ".f16", os.mkfifo),
    "sparse rows": lambda folder: swap(folder, ".f16", sparse(SPARSE)),
    "a table of a device": lambda folder: swap(folder, ".safetensors", lambda path: path.symlink_to("/dev/zero")),
    "a table of a pipe": lambda folder: swap(folder, ".safetensors", os.mkfifo),
    "a sparse table": lambda folder: swap(folder, ".safetensors", sparse(SPARSE)),
    "a table of nonsense": lambda folder: _rename(folder, "table", b"nonsense"),
    "a table without checks": lambda folder: reword(folder, lambda tensors: tensors.pop("checks")),
    "too few checks": lambda folder: reword(folder, lambda tensors: tensors.update(checks=np.zeros(1, np.uint32))),
    "checks of another type": lambda folder: reword(folder, lambda tensors: tensors.update(checks=ZEROS)),
    "too few names": lambda folder: reword(folder, lambda tensors: tensors.update(names_ends=ZEROS)),
    "names that end before they begin": lambda folder: reword(
        folder, lambda tensors: tensors.update(names_ends=tensors["names_ends"][::-1].copy())
    ),
    "names that are no text": lambda folder: reword(
        folder, lambda tensors: tensors.update(names=np.full_like(tensors["names"], 255))
    ),
}
"""What is refused when the index is opened."""

FILTERS: dict[str, Callable[[Path], object]] = {
    "a filter of a device": lambda folder: swap(folder, ".filter", lambda path: path.symlink_to("/dev/zero")),
    "a filter of a pipe": lambda folder: swap(folder, ".filter", os.mkfifo),
    "a sparse filter": lambda folder: swap(folder, ".filter", sparse(SPARSE)),
}
"""What is refused when the index is opened; a change makes another filter."""

BEGUN: dict[str, Callable[[Path], object]] = {
    "a part of nonsense": lambda folder: replace_part(folder, b"nonsense"),
    "a part without rows": lambda folder: replace_part(folder, safetensors.numpy.save({"x": ZEROS})),
    "a part of a pipe": lambda folder: (path := part_of(folder), path.unlink(), os.mkfifo(path)),
    "a sparse part": lambda folder: sparse(SPARSE)(part_of(folder)),
    "a head of nonsense": lambda folder: write_checksummed(part_of(folder).with_name("head.json"), {"x": 1}),
    "a pipe as lock": lambda folder: ((folder / "lock").unlink(), os.mkfifo(folder / "lock")),
    "linked shards": lambda folder: (
        (folder / "shards").rename(folder / "elsewhere"),
        (folder / "shards").symlink_to(folder / "elsewhere"),
    ),
}
"""What is refused when the index is changed."""


def use_everything(root: Path) -> None:
    """Open, search and change each tampered index in little memory and time; every failure is a sentence of ours."""
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    untouched = theirs(root / "untouched")
    for number, (case, tamper) in enumerate({**OPEN, **FILTERS, **BEGUN}.items()):
        folder = root / str(number) / "indexes" / "theirs"
        shutil.copytree(untouched, folder)
        victims = [root / str(number) / "outside" / f"victim{suffix}" for suffix in (".f16", ".filter")]
        victims[0].parent.mkdir()
        for victim in victims:
            victim.write_bytes(b"x" * 100)
        tamper(folder)
        sys.stderr.write(f"{case}\n")  # a failing test shows it
        signal.alarm(SECONDS)
        told = [sentence for deed in (_read, _change) if (sentence := _told(deed, folder))]
        signal.alarm(0)
        assert len(told) >= 1 + (case in OPEN), case
        assert all(victim.read_bytes() == b"x" * 100 for victim in victims), case


def _read(folder: Path) -> None:
    index = ProtectedIndex.open(folder)
    index.nearest(torch.zeros(1, *SHAPE))
    damages = index.verify()
    if damages:
        raise ValueError(damages[0])


def _change(folder: Path) -> None:
    with IndexBuilder(folder, SPACE, SHAPE) as builder:
        builder.labels()
        builder.append(torch.ones(1, *SHAPE), ["new"])
        builder.finish()
    ProtectedIndex.open(folder)


def _told(deed: Callable[[Path], None], folder: Path) -> str:
    try:
        deed(folder)
    except ValueError as error:
        assert type(error).__module__.startswith("diversity_guidance"), repr(error)
        assert str(error)[0].isupper() and str(error).endswith("."), str(error)
        return str(error)
    return ""
