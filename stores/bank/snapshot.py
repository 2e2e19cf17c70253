"""A Memory Bank at one revision: an immutable value that can be cached, pickled and passed between nodes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..encoders import check_encoder
from .entries import FEATURES, LATENTS, THUMBNAILS, BankEntry, check_feature_shape, prepare_entries
from .errors import LatentFormatError, ShardMissingError
from .shards import StoredRow, gather
from .view import BankView, SharedRows

if TYPE_CHECKING:
    from .database import BankDatabase

logger = logging.getLogger("diversity_guidance")

Parts = Mapping[str, "StoredRow | Tensor"]

_VIEWS: WeakValueDictionary[tuple[str, tuple[int, ...]], BankView] = WeakValueDictionary()
"""The last view of each bank and shape, as long as anybody holds it: the next one shares its memory, or copies it."""

ENTRY_BYTES = 1000  # of an entry's Python objects without extras; 920 were measured


@dataclass(frozen=True)
class BankSnapshot:
    """Entries in the order in which they were added; tensors are read from disk when first needed.

    Two snapshots are equal, and have equal digests, if they hold the same entries in the same order.

    Attributes:
        name: the bank's name; empty for one in memory only.
        revision: the bank's revision; each extension in memory adds 1.
        entries: oldest first.
        parts: of each entry, where its tensors are stored, or the tensors themselves.
        passed_over: a sentence for each entry, or part of one, whose row in the database is invalid.
        lost: a sentence for each entry among them.
        database: finds parts again that maintenance has moved since.
    """

    name: str
    revision: int
    entries: tuple[BankEntry, ...]
    parts: tuple[Parts, ...] = field(repr=False, compare=False)
    passed_over: tuple[str, ...] = field(default=(), repr=False, compare=False)
    lost: tuple[str, ...] = field(default=(), repr=False, compare=False)
    database: BankDatabase | None = field(default=None, repr=False, compare=False)
    _views: dict[tuple[int, ...], BankView] = field(default_factory=dict, repr=False, compare=False, init=False)
    _before: list[BankView] = field(default_factory=list, repr=False, compare=False, init=False)

    def __post_init__(self) -> None:
        if self.database is not None:
            # Held from here on, as a host drops the snapshot before this one once it has this one.
            views = list(_VIEWS.items())
            self._before.extend(view for (path, _), view in views if path == str(self.database.path))

    @classmethod
    def empty(cls, name: str = "") -> BankSnapshot:
        """A bank without entries."""
        return cls(name, 0, (), ())

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        # Views can be made again: a cache of snapshots need not store them.
        return {**self.__dict__, "_views": {}, "_before": []}

    @property
    def latent_format(self) -> str | None:
        """The format of all entries; None for an empty bank."""
        return self.entries[0].latent_format if self.entries else None

    @property
    def encoder(self) -> str:
        """Fingerprint of the entries' VAE; "" where unknown."""
        return next((entry.encoder for entry in self.entries if entry.encoder), "")

    @property
    def digest(self) -> str:
        """Hash of the ids in order, hexadecimal; part of the metadata of images sampled with the bank."""
        return hashlib.sha256("\n".join(entry.id for entry in self.entries).encode()).hexdigest()

    def matching(self, latent_format: str, latent_shape: Sequence[int]) -> BankView:
        """The latents of shape ``latent_shape`` = (C, ...). The last view is cached.

        Entries without finite latents of their shape are passed over, and named.

        Raises:
            LatentFormatError: the entries have another latent format.
            BankDamagedError: a shard is missing or damaged.
        """
        check_latent_format(self.name, self.latent_format, latent_format)
        shape = tuple(latent_shape)
        view = self._views.get(shape)
        if view is None:
            places = self._places(shape)
            view = self._continued(places, shape) or self._gathered(places, shape)
            self._before.clear()
            self._views.clear()
            self._views[shape] = view
            if self.database is not None:
                _VIEWS[str(self.database.path), shape] = view
        return view

    def _places(self, shape: tuple[int, ...]) -> Sequence[int]:
        """Places of the entries of a shape."""
        for before in self._before:
            kept = before.kept_by(self.entries)
            # What the last view held needs no look again, which would take as long as the bank is large.
            if kept and before.shape == shape and all(entry.shape == shape for entry in self.entries[kept:]):
                return range(len(self.entries))
        return [place for place, entry in enumerate(self.entries) if entry.shape == shape]

    def _continued(self, places: Sequence[int], shape: tuple[int, ...]) -> BankView | None:
        """The view of these places in the memory of the last one, from which it may only lack the first rows."""
        entries = self._at(places)
        for before in self._before:
            shared, kept = before.shared, before.kept_by(entries) if before.shape == shape else 0
            if shared is None or not kept:
                continue
            end = before.begin + len(before)
            if (room := shared.claim(end, len(entries) - kept)) is None:
                continue
            fresh, sound, flaws = self._read(places[kept:], LATENTS, shape)
            room[: len(fresh)].copy_(fresh)
            latents = shared.rows(end - kept, end + len(fresh))
            known = entries[:kept] + self._at(sound)
            return self._viewed(latents, known, len(places), flaws, shared, end - kept)
        return None

    def _at(self, places: Sequence[int]) -> tuple[BankEntry, ...]:
        whole = isinstance(places, range) and len(places) == len(self.entries)
        return self.entries if whole else tuple(self.entries[place] for place in places)

    def _gathered(self, places: Sequence[int], shape: tuple[int, ...]) -> BankView:
        """The view of these places in memory of its own."""
        shared = SharedRows(shape, torch.float16, len(places)) if self.database is not None and places else None
        into = None if shared is None else shared.rows(0, len(places))
        latents, sound, flaws = self._read(places, LATENTS, shape, self._known(shape), into)
        return self._viewed(latents, self._at(sound), len(places), flaws, None if flaws else shared, 0)

    def _viewed(
        self,
        latents: Tensor,
        entries: tuple[BankEntry, ...],
        count: int,
        flaws: tuple[str, ...],
        shared: SharedRows | None,
        begin: int,
    ) -> BankView:
        left_out, passed_over, lost = len(self.entries) - count, self.passed_over + flaws, self.lost + flaws
        return BankView(latents, entries, left_out, passed_over, lost, self.name, shared, begin)

    def _known(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Latents by id that are in memory already; an id is the hash of its latents."""
        views = [view for view in self._before if view.shape == shape]
        return {entry.id: row for view in views for entry, row in zip(view.entries, view.latents, strict=True)}

    def features(self, space: str) -> tuple[tuple[str, ...], Tensor]:
        """Ids and features (N, ...) of the entries with finite features of this space.

        Raises:
            BankDamagedError: a shard is missing or damaged.
        """
        name = FEATURES + space
        places = [place for place, parts in enumerate(self.parts) if name in parts]
        features, kept, _ = self._read(places, name, (0,))
        return tuple(self.entries[place].id for place in kept), features

    def thumbnails(self, ids: Iterable[str]) -> dict[str, Tensor]:
        """Thumbnails (H, W, 3), uint8, by id, of those entries that have one; sizes may differ.

        Raises:
            BankDamagedError: a shard is missing or damaged.
        """
        wanted = set(ids)
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, (entry, parts) in enumerate(zip(self.entries, self.parts, strict=True)):
            if entry.id in wanted and THUMBNAILS in parts:
                sizes.setdefault(tuple(parts[THUMBNAILS].shape), []).append(place)
        thumbnails: dict[str, Tensor] = {}
        for places in sizes.values():
            found, kept, _ = self._read(places, THUMBNAILS, (0,))
            thumbnails.update(zip((self.entries[place].id for place in kept), found, strict=True))
        return thumbnails

    def _read(
        self,
        places: Sequence[int],
        name: str,
        shape: tuple[int, ...],
        known: Mapping[str, Tensor] | None = None,
        into: Tensor | None = None,
    ) -> tuple[Tensor, list[int], tuple[str, ...]]:
        """One part of the entries at these places: sound values (N, ...), their places, a sentence for each other."""
        if not places:
            with torch.inference_mode(False):
                return torch.empty((0, *shape), dtype=torch.float16), [], ()
        known = known or {}
        sources = [known.get(self.entries[place].id, self.parts[place][name]) for place in places]
        try:
            rows = gather(sources, into)
        except ShardMissingError:
            if self.database is None:
                raise
            moved = self.database.locate((self.entries[place].id for place in places), name)
            rows = gather(
                [
                    source if isinstance(source, Tensor) else moved.get(self.entries[place].id, source)
                    for place, source in zip(places, sources, strict=True)
                ],
                into,
            )
        flaws = tuple(
            f"Entry {self.entries[places[at]].id[:12]} of the bank '{self.name}' is passed over: {what}."
            for at, what in rows.flaws.items()
        )
        for flaw in flaws:
            logger.warning("%s diversity-guidance bank repair drops it.", flaw)
        return rows.values, [places[at] for at in rows.places], flaws

    def extended(
        self,
        latents: Tensor,
        *,
        latent_format: str,
        prompts: str | Sequence[str | None] | None = None,
        seeds: int | Sequence[int | None] | None = None,
        thumbnails: Tensor | None = None,
        features: Mapping[str, Tensor] | None = None,
        encoder: str = "",
    ) -> BankSnapshot:
        """A snapshot that also holds this batch, in memory only; arguments as in ``prepare_entries``.

        Latents that the snapshot already holds are not added again, but gain missing parts. Returns the snapshot itself
        if nothing is new.

        Raises:
            LatentFormatError: the entries have another latent format.
            EncoderError: the entries are of another VAE.
            ValueError: the batch is invalid.
        """
        batch = prepare_entries(
            latents,
            latent_format=latent_format,
            prompts=prompts,
            seeds=seeds,
            thumbnails=thumbnails,
            features=features,
            encoder=encoder,
        )
        check_latent_format(self.name, self.latent_format, latent_format, remembering=True)
        check_encoder(f"The bank '{self.name}'", self.encoder, encoder, "Use another bank for this one.")
        revision, created = self.revision + 1, now()
        entries = {entry.id: entry for entry in self.entries}
        parts = {entry.id: dict(known) for entry, known in zip(self.entries, self.parts, strict=True)}
        shapes = {name: tuple(part.shape) for known in self.parts for name, part in known.items()}
        changed = False
        for new in batch:
            if new.id not in entries:
                facts = new.id, new.latent_format, new.shape, new.prompt, new.seed, created, revision, new.encoder
                entries[new.id] = BankEntry(*facts)
                parts[new.id] = {}
            for name, part in new.parts.items():
                check_feature_shape(name, shapes.get(name), tuple(part.shape))
            missing = {name: part for name, part in new.parts.items() if name not in parts[new.id]}
            parts[new.id].update(missing)
            changed = changed or bool(missing)
        if not changed:
            return self
        return replace(self, revision=revision, entries=tuple(entries.values()), parts=tuple(parts.values()))

    def get_ram_usage(self) -> int:
        """Bytes held in memory; ComfyUI's cache asks when memory runs short."""
        in_memory = (source for parts in self.parts for source in parts.values() if isinstance(source, Tensor))
        views = sum(view.get_ram_usage() for view in self._views.values())
        return sum(tensor.nbytes for tensor in in_memory) + views + ENTRY_BYTES * len(self.entries)


def check_latent_format(name: str, held: str | None, given: str, *, remembering: bool = False) -> None:
    """Refuse to mix latent formats.

    Raises:
        LatentFormatError: the bank ``name`` holds latents of the format ``held``, which is not ``given``.
    """
    if held not in (None, given):
        bank = f"The bank '{name}'" if name else "The bank"
        which = "to save are" if remembering else "of this model are"
        raise LatentFormatError(
            f"{bank} holds {held} latents, but the latents {which} {given}. Use another bank for them."
        )


def now() -> str:
    """The current time, ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
