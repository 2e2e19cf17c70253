"""The searches of ``diversity-guidance bench index``, each index in its own process.

The process writes a row for every search. Then it reads numbers of rows, and writes the seconds of one pass of each, so
that passes of both indexes can take turns. One thread; times are processor seconds.
"""

from __future__ import annotations

import gc
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...stores.protected.builder import IndexBuilder
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.search.neighbour_list import NeighbourList
from .images import LatentFolder
from .runs import CAUGHT, Runs

BATCH = 8
EXACT = "exact"
PROBES = (1, 2, 3, 5, 10)
TRAINED_PER_CELL = 64


@dataclass(frozen=True)
class Case:
    """The size of one benchmark.

    Attributes:
        folder: of the latents and indexes.
        size: of the images in pixels.
        count: of references.
        runs: number of runs of eight images; their final images give the radii.
        followed: number of runs that are followed step by step.
        steps: of a run.
        cfg: scale of classifier-free guidance.
    """

    folder: str
    size: int
    count: int
    runs: int
    followed: int
    steps: int
    cfg: float

    @property
    def references(self) -> LatentFolder:
        """The latents to protect."""
        return LatentFolder(Path(self.folder) / "latents", self.size, self.count)

    def sampled_runs(self) -> Runs:
        """The runs, with the estimates of those that are followed."""
        runs = Runs.sampled(Path(self.folder), self.size, self.runs, self.steps, BATCH, self.cfg)
        return replace(runs, estimates=runs.estimates[: self.followed])


@dataclass(frozen=True)
class Row:
    """Result and cost of one search at one radius.

    Attributes:
        search: its name.
        caught: fraction of unguided images that end in a shield of this radius.
        radius: in the units of raw latents.
        searches: fraction of estimates for which the index was searched.
        memory: bytes that the index holds in memory.
        disk: bytes of its files.
        build: processor seconds from latents to an index that can be searched.
        pairs: the pairs (query, reference) that were found.
    """

    search: str
    caught: float
    radius: float
    searches: float
    memory: int
    disk: int
    build: float
    pairs: list[list[int]]


Searches = Iterator[tuple[Row, Callable[[], float]]]
"""The row of each search, and a function that runs one pass of it and returns the processor seconds."""

Ask = Callable[[int, int], tuple[Tensor, Tensor]]
"""Searches for the estimates of a run and step; returns rows and references of the pairs."""


def exact_searches(case: Case, radii: list[float]) -> Searches:
    """The Protected Index, opened from its folder."""
    folder, runs = _index_folder(case), case.sampled_runs().estimates
    build = float(_seconds_file(folder).read_text(encoding="ascii"))
    before = _anonymous_bytes()
    index = ProtectedIndex.open(folder)
    # The first search loads the rest.
    index.within(runs[0, 0], radii[0])
    memory = _anonymous_bytes() - before
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for caught, radius in zip(CAUGHT, radii, strict=True):
        lists: dict[int, NeighbourList] = {}

        def ask(
            run: int, step: int, lists: dict[int, NeighbourList] = lists, radius: float = radius
        ) -> tuple[Tensor, Tensor]:
            if step == 0:
                lists[run] = NeighbourList(index)
            hits = lists[run].within(runs[run, step], radius)
            return hits.rows, hits.references

        pairs = _pairs(runs, ask)
        searched = sum(listed.searched for listed in lists.values()) / runs[..., 0].numel()
        yield Row(EXACT, caught, radius, searched, memory, disk, build, pairs), partial(_seconds, runs, ask)


def faiss_searches(case: Case, radii: list[float]) -> Searches:
    """IndexIVFFlat with sqrt(N) cells."""
    import faiss

    faiss.omp_set_num_threads(1)
    runs = case.sampled_runs().estimates
    width, cells = runs.shape[-1], max(1, round(math.sqrt(case.count)))
    begun, before = time.process_time(), _anonymous_bytes()
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, cells)
    index.cp.max_points_per_centroid = TRAINED_PER_CELL
    stride = max(1, case.count // (TRAINED_PER_CELL * cells))
    trained = [part[::stride].reshape(-1, width).astype(np.float32) for part in case.references.parts()]
    index.train(np.concatenate(trained))  # type: ignore[call-arg]
    del trained
    for part in case.references.parts():
        index.add(part.reshape(-1, width).astype(np.float32))  # type: ignore[call-arg]
    index.make_direct_map()
    build, memory = time.process_time() - begun, _anonymous_bytes() - before
    for probes in PROBES:
        for caught, radius in zip(CAUGHT, radii, strict=True):

            def ask(run: int, step: int, probes: int = probes, radius: float = radius) -> tuple[Tensor, Tensor]:
                index.nprobe = probes
                limits, _, found = index.range_search(runs[run, step].numpy(), radius**2)  # type: ignore[call-arg]
                rows = np.repeat(np.arange(BATCH), np.diff(limits.astype(np.int64)))
                # A push needs the vectors; the other search returns them.
                index.reconstruct_batch(np.unique(found))  # type: ignore[call-arg]
                return torch.from_numpy(rows), torch.from_numpy(found)

            row = Row(f"IVF, nprobe {probes}", caught, radius, 1.0, memory, 0, build, _pairs(runs, ask))
            yield row, partial(_seconds, runs, ask)


def build_exact(case: Case) -> None:
    """Build the Protected Index if it is missing; the processor seconds are kept beside it."""
    folder = _index_folder(case)
    if _seconds_file(folder).is_file():
        return
    begun = time.process_time()
    with IndexBuilder(folder, "latent:SD3", case.references.shape) as builder:
        staged, end = len(builder.labels()), 0
        for part in case.references.parts():
            start, end = end, end + len(part)
            if staged < end:
                fresh = range(max(start, staged), end)
                builder.append(torch.tensor(part[fresh.start - start :]), [str(number) for number in fresh])
        builder.finish()
    _seconds_file(folder).write_text(str(time.process_time() - begun), encoding="ascii")


def _index_folder(case: Case) -> Path:
    return Path(case.folder) / f"index-{case.size}px-{case.count}"


def _seconds_file(folder: Path) -> Path:
    return folder.with_suffix(".seconds")


def _pairs(runs: Tensor, ask: Ask) -> list[list[int]]:
    """All pairs of a search; this also loads the files."""
    pairs: list[list[int]] = []
    for run, step in np.ndindex(*runs.shape[:2]):
        rows, references = ask(run, step)
        first = (run * runs.shape[1] + step) * BATCH
        pairs += torch.stack([rows + first, references], 1).tolist()
    return pairs


def _seconds(runs: Tensor, ask: Ask) -> float:
    """Processor seconds of all runs."""
    # Warm the processor's caches.
    for step in range(runs.shape[1]):
        ask(0, step)
    # As in timeit: garbage collection does not count.
    gc.disable()
    begun = time.process_time()
    for run, step in np.ndindex(*runs.shape[:2]):
        ask(run, step)
    seconds = time.process_time() - begun
    gc.enable()
    return seconds


def _anonymous_bytes() -> int:
    """Memory of this process without mapped files, which the system can drop."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise ValueError("Memory apart from files can be measured on Linux only.")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if "RssAnon" in line) * 1024


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    asked = Case(**wanted["case"])
    if wanted["search"] == "build":
        build_exact(asked)
    else:
        searches = exact_searches if wanted["search"] == EXACT else faiss_searches
        passes = []
        for found, seconds in searches(asked, wanted["radii"]):
            passes.append(seconds)
            sys.stdout.write(json.dumps(asdict(found)) + "\n")
        sys.stdout.write("\n")
        sys.stdout.flush()
        for number in sys.stdin:
            sys.stdout.write(f"{passes[int(number)]()}\n")
            sys.stdout.flush()
