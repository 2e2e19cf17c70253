"""Protected Index: exact search among millions of images that must not be reproduced.

An index is a folder with ``manifest.json`` and ``shards/``: memory-mapped float16 vectors, tables of names, and a
filter in memory (``search``), by which only candidates are read and checked. An open index is read-only. Any number
of processes may open it, also while another process builds its next state.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.shields.field import check_radius
from ..files import to_float32
from .errors import IndexDamagedError, IndexSpaceError
from .hits import Hits, in_float32, measured, surface
from .manifest import Manifest, read_manifest
from .rows import Labels, MappedRows, check_whole, read_labels, rows_path
from .search.filter_file import read_filter
from .search.projection_filter import Candidates, Floats, Integers, ProjectionFilter, evenly_spread


class ProtectedIndex:
    """A published index, open for reading.

    Args:
        folder: of the index.
        manifest: its published state.

    Raises:
        IndexDamagedError: a file is missing or damaged; of the vectors only sizes are checked here.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.space = manifest.space
        self.shape = manifest.shape
        self._shards = folder / "shards"
        self._rows = MappedRows(self._shards, manifest.shards, manifest.width)
        self._filter = self._read_filter() if manifest.filter else None
        self._labels = lru_cache(maxsize=4)(self._read_labels)
        self._all_checked = False

    @classmethod
    def open(cls, folder: Path) -> ProtectedIndex:
        """Open the index in a folder.

        Raises:
            ProtectedIndexError: there is none, it is damaged (IndexDamagedError) or of another version.
        """
        folder = Path(folder).absolute()
        return cls(folder, read_manifest(folder))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes in memory; mapped vectors belong to the file cache."""
        return self._rows.nbytes + (self._filter.nbytes if self._filter else 0)

    @property
    def filter(self) -> ProjectionFilter | None:
        """The filter that finds candidates; None for an empty index."""
        return self._filter

    def fingerprint(self) -> str:
        """Hash of the references and their order, hexadecimal, however they were built."""
        return self.manifest.fingerprint()

    def name(self, reference: int) -> str:
        """The name of a reference, such as its image's file name.

        Raises:
            IndexDamagedError: its table is damaged.
        """
        shard, place = self._rows.locate(reference)
        return self._labels(shard).names[place]

    def sample(self, count: int) -> Tensor:
        """At most ``count`` references, evenly spread, shape (n, *shape), float32.

        Raises:
            IndexDamagedError: one of them is damaged.
        """
        return torch.from_numpy(self.read(evenly_spread(len(self), count))).view(-1, *self.shape)

    def vectors(self) -> list[Tensor]:
        """All references as memory-mapped blocks (n, *shape), float16; the first call checks every row.

        Raises:
            IndexDamagedError: a row is damaged.
        """
        if not self._all_checked:
            for damage in self._rows.check_all():
                raise IndexDamagedError(damage)
            self._all_checked = True
        return [torch.from_numpy(block).view(-1, *self.shape) for block in self._rows.blocks]

    def within(self, queries: Tensor, radius: float) -> Hits:
        """All references inside the radius of a query.

        A distance that float32 cannot tell from the radius counts as inside. A query that is not finite has no hits.

        Args:
            queries: shape (B, D) or (B, *shape).
            radius: in the units of the vectors.

        Raises:
            IndexSpaceError: the queries have the wrong number of values.
            IndexDamagedError: a candidate is damaged.
            ValueError: the radius is negative or NaN.
        """
        check_radius(radius)
        points = self.points(queries)
        candidates = self.candidates(points, np.full(len(points), surface(radius)))
        distances = measured(points, candidates.rows, candidates.numbers, self.read)
        return Hits.among(candidates.rows, candidates.numbers, distances, radius, self.read)

    def nearest(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """The nearest references, exactly.

        Args:
            queries: shape (B, D) or (B, *shape).
            k: from 1 to the number of references.

        Returns:
            Distances, float32, ascending, and numbers of the references, int64, both of shape (B, k). Ties go to the
            smaller number. A query that is not finite has infinity and -1.

        Raises:
            IndexSpaceError: the queries have the wrong number of values.
            IndexDamagedError: a candidate is damaged.
            ValueError: ``k`` is out of range.
        """
        if not 1 <= k <= len(self):
            raise ValueError(f"{k} nearest references were asked for, of an index that holds {len(self)}.")
        points = self.points(queries)
        found = [self._nearest_of(point[None], k) for point in points]
        distances, numbers = (np.array(part).reshape(len(points), k) for part in zip(*found, strict=True))
        return in_float32(distances), torch.from_numpy(numbers.astype(np.int64))

    def verify(self) -> list[str]:
        """Read every file; returns a sentence for each that is damaged."""
        found = list(self._rows.check_all())
        checks = [partial(check_whole, rows_path(self._shards, shard), shard.rows) for shard in self.manifest.shards]
        checks += [partial(read_labels, self._shards, shard) for shard in self.manifest.shards]
        checks += [self._read_filter] if self.manifest.filter else []
        for check in checks:
            try:
                check()
            except IndexDamagedError as error:
                found.append(str(error))
        return found

    def points(self, queries: Tensor) -> NDArray[np.float32]:
        """Queries as rows (B, D), float32.

        Raises:
            IndexSpaceError: they have the wrong number of values.
        """
        points = queries.detach().to("cpu", torch.float32).reshape(len(queries), -1).numpy()
        if points.shape[1] != self.manifest.width:
            raise IndexSpaceError(
                f"The index protects vectors of shape {self.shape}, and what is compared has {points.shape[1]} values: "
                "they must come from the same space and image size."
            )
        return points

    def candidates(self, points: NDArray[np.float32], within: Floats) -> Candidates:
        """All pairs that may be closer than ``within``, shape (B,); none of a query that is not finite."""
        finite = np.flatnonzero(np.isfinite(points).all(1))
        if self._filter is None:
            return Candidates.none()
        found = self._filter.candidates(self._filter.project(points[finite]), within[finite])
        return Candidates(finite[found.rows], found.numbers, found.bounds)

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """References (K, D) of these numbers.

        Raises:
            IndexDamagedError: one of them is damaged.
        """
        return to_float32(self._rows.read(numbers))

    def _nearest_of(self, point: NDArray[np.float32], k: int) -> tuple[Floats, Integers]:
        if self._filter is None or not np.isfinite(point).all():
            return np.full(k, math.inf), np.full(k, -1)
        query = self._filter.project(point)
        bounds = self._filter.candidates(query, np.array([math.inf])).bounds
        numbers = np.argpartition(bounds, min(8 * k + 32, len(self)) - 1)[: 8 * k + 32]
        distances = self._distances(point, numbers)
        # The k-th nearest of all is at most as far as the k-th nearest of some.
        rest = np.setdiff1d(np.flatnonzero(bounds <= np.partition(distances, k - 1)[k - 1]), numbers)
        rest = rest[np.argsort(bounds[rest])]
        for part in np.array_split(rest, max(1, len(rest) // (2 * k + 8))):
            if len(part) and bounds[part[0]] <= np.partition(distances, k - 1)[k - 1]:
                distances = np.concatenate([distances, self._distances(point, part)])
                numbers = np.concatenate([numbers, part])
        best = np.lexsort((numbers, distances))[:k]
        return distances[best], numbers[best]

    def _distances(self, point: NDArray[np.float32], numbers: Integers) -> Floats:
        return measured(point, np.zeros(len(numbers), np.int64), numbers, self.read)

    def _read_filter(self) -> ProjectionFilter:
        return read_filter(self._shards, self.manifest.filter, self.manifest.count, self.manifest.width)

    def _read_labels(self, shard: int) -> Labels:
        return read_labels(self._shards, self.manifest.shards[shard])
