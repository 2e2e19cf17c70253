"""The newest revision of the banks that this process opened last, so that opening one again reads only what changed.

What is kept of a bank holds as long as every change since was made by this process, which notes the positions that it
touched: the database's stamp and its file's state tell whether another one changed it. What is read that way equals
what a full reading gives; a bank with flaws is always read in full.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from .entries import BankEntry
from .listing import Listing
from .records import Flaw, part_bytes
from .shards import Shard, StoredRow
from .transaction import BankTransaction

MAX_ENTRIES = 50_000
"""Kept in all, beside those of the last bank."""

MAX_STALE, FEW = 1 / 8, 64
"""If more than this fraction of a bank changed, and more than a few entries, it is read in full."""

Mark = tuple[int, ...]


class Contents(NamedTuple):
    """What a revision of a bank holds.

    Attributes:
        entries: oldest first.
        parts: of each, by name.
        flaws: of what is left out.
        shards: that parts lie in.
    """

    entries: tuple[BankEntry, ...]
    parts: tuple[dict[str, StoredRow], ...]
    flaws: tuple[Flaw, ...]
    shards: tuple[Shard, ...]

    @classmethod
    def from_listing(cls, listing: Listing) -> Contents:
        """The same as tuples."""
        parts = tuple(listing.parts.values())
        shards = dict.fromkeys(row.shard for known in parts for row in known.values())
        return cls(tuple(listing.entries.values()), parts, listing.flaws, tuple(shards))


class _Kept:
    """A sound bank as it once was, the positions touched since, and the bank's present mark; changed in place."""

    def __init__(self, listing: Listing, mark: Mark) -> None:
        self.positions = list(listing.entries)
        self.entries = list(listing.entries.values())
        self.parts = list(listing.parts.values())
        self.claimed = dict(listing.claimed)
        self.stale: set[int] = set()
        self.mark = mark

    def update(self, listing: Listing) -> bool:
        """Hold the listed entries at the stale positions and no others there; whether they are sound."""
        for position in sorted(self.stale):
            place = bisect_left(self.positions, position)
            known = slice(place, place + (self.positions[place : place + 1] == [position]))
            for row in (row for held in self.parts[known] for row in held.values()):
                self.claimed[row.shard] -= part_bytes(row)
            fresh = [position] if position in listing.entries else []
            self.positions[known] = fresh
            self.entries[known] = [listing.entries[position] for position in fresh]
            self.parts[known] = [listing.parts[position] for position in fresh]
        for shard, taken in listing.claimed.items():
            self.claimed[shard] = self.claimed.get(shard, 0) + taken
        for shard in [shard for shard, taken in self.claimed.items() if not taken]:
            del self.claimed[shard]
        self.stale.clear()
        return not listing.flaws and all(taken <= shard.size for shard, taken in self.claimed.items())

    def contents(self) -> Contents:
        """The same as tuples."""
        return Contents(tuple(self.entries), tuple(self.parts), (), tuple(self.claimed))


_kept: OrderedDict[Path, _Kept] = OrderedDict()
_lock = Lock()


def read_newest(path: Path, transaction: BankTransaction) -> Contents:
    """The newest revision of the bank whose database is at ``path``.

    Raises:
        RevisionError: it lost entries to damage.
    """
    mark = mark_of(path, transaction.stamp())
    with _lock:
        kept = _kept.pop(path, None)
    if kept is not None and (kept.mark != mark or len(kept.stale) > max(FEW, MAX_STALE * len(kept.entries))):
        kept = None
    if kept is not None and kept.stale and not kept.update(transaction.newest_among(kept.stale)):
        kept = None
    if kept is None:
        listing = transaction.entries_at(transaction.newest()[0])
        if listing.flaws or not mark:
            return Contents.from_listing(listing)
        kept = _Kept(listing, mark)
    contents = kept.contents()
    with _lock:
        _kept[path] = kept
        while len(_kept) > 1 and sum(len(each.entries) for each in _kept.values()) > MAX_ENTRIES:
            _kept.popitem(last=False)
    return contents


def note_change(path: Path, before: Mark, after: Mark, touched: Iterable[int] | None) -> None:
    """Note that this process took a bank from one mark to another, and touched these positions; None for any."""
    with _lock:
        kept = _kept.get(path)
        if kept is None or kept.mark != before:
            return
        if touched is None or not after:
            del _kept[path]
        else:
            kept.stale.update(touched)
            kept.mark = after


def mark_of(path: Path, stamp: int | None) -> Mark:
    """A stamp of a bank's database and the present state of its file; () if there is none."""
    with suppress(OSError):
        found = path.stat()
        return () if stamp is None else (stamp, found.st_ino, found.st_size, found.st_mtime_ns)
    return ()
