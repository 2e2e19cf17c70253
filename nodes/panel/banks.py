"""What the panel shows of banks and changes in them, as plain values for JSON."""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ...stores.bank.bank import MemoryBank
from ...stores.bank.database import DATABASE
from ...stores.bank.entries import THUMBNAILS, BankEntry
from ...stores.bank.errors import BankDamagedError
from ...stores.bank.snapshot import BankSnapshot
from ..common.queue_changes import undo_queue
from ..common.traces import last_run
from ..host.folders import bank_names, open_bank

MAX_PAGE = 200
"""Entries in one answer."""

MAX_IDS = 10_000
"""Entries that one request can change."""

SHOWN_CHARACTERS = 1000
"""Of a prompt; the whole one is searched."""

READ_AHEAD = 32
"""Thumbnails read at once: neighbours share files, which are read as a whole."""

MAX_SIDE = 4096
"""Of a thumbnail that is shown."""

SNAPSHOTS_KEPT = 4
INFOS_KEPT = 256
IMAGES_KEPT = 512

ID = re.compile("[0-9a-f]{64}")

_T = TypeVar("_T")


class NotFoundError(ValueError):
    """There is no such bank, image or thumbnail."""


class _Recent(Generic[_T]):
    """What was last read of the last banks, until their database changes."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._known: OrderedDict[str, tuple[object, _T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, bank: MemoryBank, read: Callable[[MemoryBank], _T]) -> _T:
        # Pins do not change the fingerprint, and a file system may count time in coarse steps.
        state = bank.fingerprint(), (bank.folder / DATABASE).stat().st_mtime_ns
        with self._lock:
            known = self._known.get(bank.name)
        if known is not None and known[0] == state:
            return known[1]
        value = read(bank)
        with self._lock:
            self._known[bank.name] = state, value
            self._known.move_to_end(bank.name)
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        return value

    def drop(self, bank: MemoryBank) -> None:
        with self._lock:
            self._known.pop(bank.name, None)


_lock = threading.Lock()
_snapshots: _Recent[BankSnapshot] = _Recent(SNAPSHOTS_KEPT)
_infos: _Recent[dict[str, Any]] = _Recent(INFOS_KEPT)
_images: OrderedDict[tuple[str, str], bytes] = OrderedDict()


def all_banks() -> dict[str, Any]:
    """Every bank with its size, or why it cannot be read."""
    return {"banks": [_summary(name) for name in bank_names()]}


def page(name: str, text: str = "", start: int = 0, count: int = 60) -> dict[str, Any]:
    """A bank's entries, newest first, whose prompt holds the text.

    Args:
        name: of the bank.
        text: searched in prompts, in any case; "" for all.
        start: entries to skip.
        count: of entries at most, up to ``MAX_PAGE``.

    Raises:
        ValueError: there is no such bank, or it is damaged.
    """
    snapshot = _snapshots.get(_bank(name), MemoryBank.snapshot)
    wanted = text.casefold()
    found = [
        place
        for place in reversed(range(len(snapshot)))
        if not wanted or wanted in (snapshot.entries[place].prompt or "").casefold()
    ]
    shown = found[start : start + min(count, MAX_PAGE)]
    return {
        "bank": snapshot.name,
        "revision": snapshot.revision,
        "total": len(snapshot),
        "found": len(found),
        "unreadable": len(snapshot.lost),
        "entries": [_entry(snapshot.entries[place], THUMBNAILS in snapshot.parts[place]) for place in shown],
    }


def thumbnail(name: str, identity: str) -> bytes:
    """An entry's thumbnail as WebP, encoded here from its pixels.

    Raises:
        NotFoundError: the bank has no such entry, or the entry has no thumbnail that can be shown.
        ValueError: there is no such bank, or it is damaged.
    """
    bank = _bank(name)
    with _lock:
        known = _images.get((bank.name, identity))
    if known is not None:
        return known
    snapshot = _snapshots.get(bank, MemoryBank.snapshot)
    places = [place for place, entry in enumerate(snapshot.entries) if entry.id == identity]
    if not places:
        raise NotFoundError(f"The bank '{bank.name}' has no such image.")
    # Newest first, as the panel shows them.
    near = [entry.id for entry in snapshot.entries[max(places[0] - READ_AHEAD + 1, 0) : places[0] + 1]]
    try:
        pixels = snapshot.thumbnails(near)
    except BankDamagedError:
        pixels = snapshot.thumbnails([identity])
    encoded = {key: _webp(value) for key, value in pixels.items()}
    with _lock:
        _images.update({(bank.name, key): data for key, data in encoded.items() if data})
        while len(_images) > IMAGES_KEPT:
            _images.popitem(last=False)
    if not encoded.get(identity):
        raise NotFoundError(f"This image of the bank '{bank.name}' has no thumbnail that can be shown.")
    return encoded[identity]


def pushes(name: str) -> dict[str, Any]:
    """What pushed the images of the last guided run, and which of that the bank holds.

    Raises:
        ValueError: there is no such bank, or it is damaged.
    """
    run = last_run()
    if run is None:
        return {"images": []}
    held = {entry.id for entry in _snapshots.get(_bank(name), MemoryBank.snapshot).entries}
    return {
        "told": run.told,
        "by": "shields" if run.has_shields else "similarity",
        "images": [
            {
                "id": identity if identity in held else None,
                "pushed_from": [
                    {
                        "reference": contact.reference,
                        "held": contact.reference in held,
                        "distance": float(f"{contact.distance:.3g}"),
                    }
                    for contact in contacts
                ],
            }
            for identity, contacts in zip(run.ids, run.contacts, strict=True)
        ],
    }


def remove(name: str, ids: Sequence[str]) -> dict[str, Any]:
    """Remove entries from a bank.

    Raises:
        ValueError: there is no such bank, it does not hold one of them, or it cannot be written.
    """
    _bank(name).remove(ids)
    return {"removed": len(set(ids))}


def undo(name: str) -> dict[str, Any]:
    """Take back a bank's newest change: what one queue saved as one.

    Raises:
        ValueError: there is no such bank, nothing to take back, or it cannot be written.
    """
    return {"revision": undo_queue(_bank(name))}


def pin(name: str, ids: Sequence[str], pinned: bool) -> dict[str, Any]:
    """Pin entries of a bank, or let them go again.

    Raises:
        ValueError: there is no such bank, it does not hold one of them, or it cannot be written.
    """
    bank = _bank(name)
    bank.pin(ids, pinned)
    _snapshots.drop(bank)
    _infos.drop(bank)
    return {"pinned": len(set(ids))}


def _bank(name: str) -> MemoryBank:
    bank = open_bank(name)
    if bank.name not in bank_names():
        raise NotFoundError(f"There is no bank named '{bank.name}'.")
    return bank


def _summary(name: str) -> dict[str, Any]:
    try:
        bank = _bank(name)
        return _infos.get(bank, _info)
    except ValueError as error:
        return {"name": name, "error": str(error)}


def _info(bank: MemoryBank) -> dict[str, Any]:
    info = bank.info()
    changed = datetime.fromtimestamp((bank.folder / DATABASE).stat().st_mtime, timezone.utc)
    return {
        "name": info.name,
        "images": info.entries,
        "pinned": info.pinned,
        "live_bytes": info.live_bytes,
        "disk_bytes": info.disk_bytes,
        "changed": changed.isoformat(timespec="seconds"),
    }


def _entry(entry: BankEntry, has_thumbnail: bool) -> dict[str, Any]:
    prompt = entry.prompt
    return {
        "id": entry.id,
        "prompt": prompt if prompt is None or len(prompt) <= SHOWN_CHARACTERS else prompt[:SHOWN_CHARACTERS] + "…",
        # JavaScript's numbers end at 2^53, seeds at 2^64.
        "seed": None if entry.seed is None else str(entry.seed),
        "created": entry.created,
        "shape": entry.shape,
        "pinned": entry.pinned,
        "thumbnail": has_thumbnail,
    }


def _webp(pixels: Tensor) -> bytes:
    """The image of pixels (H, W, 3), uint8; nothing where they are none."""
    is_image = pixels.dtype == torch.uint8 and pixels.ndim == 3 and pixels.shape[-1] == 3
    if not is_image or not 0 < min(pixels.shape) <= max(pixels.shape) <= MAX_SIDE:
        return b""
    out = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(out, "WEBP", quality=85)
    return out.getvalue()
