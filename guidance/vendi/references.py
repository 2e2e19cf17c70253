"""Pictures of the past and exemplars as features of the space that a run is steered in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ...stores.exemplar_set import ExemplarSet
from ..base import SamplingRun
from ..references import ReferenceSource, View
from .directions import Described
from .latent_features import LatentFeatures
from .prompts import EncodedPrompt, Prompts

CHUNK = 256
"""Remembered latents that are measured at once."""

MOST_DECODED = 256
"""Remembered pictures without features that are decoded at the start of a run; those without are named in a note."""

Wanted = str | Sequence[str] | EncodedPrompt | None
"""What a batch is drawn from: one text for all or one each, its encoding, or None where it does not count."""


class Remembered(Protocol):
    """What is known of a remembered picture without its tensors."""

    @property
    def id(self) -> str:
        """Its identity."""
        ...

    @property
    def prompt(self) -> str | None:
        """What it was drawn from, where known."""
        ...


class FeatureBank(ReferenceSource, Protocol):
    """Remembered pictures with features by space; a bank's snapshot is one."""

    @property
    def entries(self) -> Sequence[Remembered]:
        """All of them, oldest first."""
        ...

    def features(self, space: str) -> tuple[tuple[str, ...], Tensor]:
        """Ids and features (N, d) of the entries that have features of this space."""
        ...


@dataclass(frozen=True)
class Past:
    """Remembered pictures, ready to be compared.

    Attributes:
        pictures: their features and, where they count, prompts.
        ids: identity of each.
        notes: sentences for the user about what was left out.
    """

    pictures: Described
    ids: tuple[str, ...]
    notes: tuple[str, ...]

    def seen_through(self, features: LatentFeatures) -> Past:
        """The same by the part of each picture that counts, and without those that are blank there."""
        seen = features.weighed(self.pictures.features)
        kept = seen.any(1).nonzero().flatten()
        pictures = Described(seen, self.pictures.prompts).at(kept)
        return Past(pictures, tuple(self.ids[row] for row in kept.tolist()), self.notes)


def remembered(bank: FeatureBank | None, features: LatentFeatures, run: SamplingRun, prompt: Wanted) -> Past:
    """The pictures of a bank in a feature space: remembered features where there are any, else measured now.

    Raises:
        ValueError: the bank holds latents of another format, or features of this space and of another length.
    """
    if bank is None:
        nothing = torch.zeros(0, features.space.dimension, device=run.device)
        return Past(Described(nothing, _prompts(prompt, [], {}, run)), (), ())
    # Also refuses latents of another format.
    view = bank.matching(run.latent_format, run.latent_shape)
    # Latents are at hand and measured in no time; what others remember of them may be of the VAE's own space.
    known = {} if features.decode is None else dict(zip(*bank.features(features.tag), strict=True))
    missing = [row for row, name in enumerate(view.ids) if name not in known]
    skipped: list[int] = []
    if features.decode is not None and len(missing) > MOST_DECODED:
        skipped, missing = missing[:-MOST_DECODED], missing[-MOST_DECODED:]
    known.update(_measured(view, missing, features, run))
    entries = {entry.id: entry.prompt for entry in bank.entries}
    fitting = [name for name in entries if name in known]
    blank = {name for name in fitting if not known[name].any()}
    encoded = dict(zip(*bank.features(prompt.tag), strict=True)) if isinstance(prompt, EncodedPrompt) else None
    ids = tuple(name for name in fitting if name not in blank and (encoded is None or name in encoded))
    rows = [known[name].float().cpu() for name in ids]
    if wrong := {tuple(row.shape) for row in rows} - {(features.space.dimension,)}:
        raise ValueError(
            f"The bank holds features of {features.tag} of shape {min(wrong)}, and this model's have "
            f"{features.space.dimension} numbers: use the model that made them, or another bank."
        )
    table = torch.stack(rows) if rows else torch.zeros(0, features.space.dimension)
    prompts = _prompts(prompt, ids, entries if encoded is None else encoded, run)
    notes = _notes(
        other_size=len(entries) - len(fitting) - len(skipped),
        skipped=len(skipped),
        decoded=0 if features.decode is None else len(missing),
        blank=len(blank),
        unencoded=len(fitting) - len(blank) - len(ids),
    )
    return Past(Described(table.to(run.device), prompts), ids, notes)


def exemplars_of(exemplars: ExemplarSet | None, features: LatentFeatures, run: SamplingRun) -> Described:
    """The exemplars in a feature space: none of them for None.

    Raises:
        ValueError: the space is one of latents, and the set has none or some of another format.
    """
    if exemplars is None:
        return Described(torch.zeros(0, features.space.dimension, device=run.device))
    if features.decode is not None:
        return _with_contrast(exemplars.features(features.tag, features.space), run)
    channels = {latent.shape[0] for latent in exemplars.latents}
    if exemplars.latent_format not in ("", run.latent_format) or channels - {run.latent_shape[0]}:
        raise ValueError(
            f"The exemplars were encoded by another model's VAE, and this model works on {run.latent_format} latents "
            f"of {run.latent_shape[0]} channels: wire this model's VAE into the Exemplar Set."
        )

    def measure(latent: Tensor) -> Tensor:
        return features(_as_of(run, run.to_model_space(latent.to(run.device))))

    return _with_contrast(exemplars.latent_features(features.tag, measure), run)


def _with_contrast(features: Tensor, run: SamplingRun) -> Described:
    """Those that have a direction: what is blank is like nothing."""
    return Described(features[features.any(1)].to(run.device))


def batch_prompts(prompt: str | Sequence[str] | EncodedPrompt, run: SamplingRun) -> Prompts:
    """The batch's prompts: one for all or one each.

    Raises:
        ValueError: another number of prompts than of pictures.
    """
    encoded = isinstance(prompt, EncodedPrompt)
    given = 1 if isinstance(prompt, str) else len(prompt.vectors) if encoded else len(prompt)
    if given not in (1, run.batch_size):
        raise ValueError(f"There are {given} prompts for {run.batch_size} pictures: give one, or one each.")
    if encoded:
        return Prompts.encoded(prompt.vectors.expand(run.batch_size, -1)).to(run.device)
    texts = [prompt] if isinstance(prompt, str) else list(prompt)
    return Prompts.of_words(texts * (run.batch_size // given)).to(run.device)


def _prompts(prompt: Wanted, ids: Sequence[str], known: Mapping[str, Any], run: SamplingRun) -> Prompts | None:
    """Remembered prompts, as texts or as encodings, in the order of the ids; None where prompts do not count."""
    if prompt is None:
        return None
    if not ids:
        return batch_prompts(prompt, run).at(torch.arange(0))
    found = [known[name] for name in ids]
    encoded = isinstance(prompt, EncodedPrompt)
    return (Prompts.encoded(torch.stack(found)) if encoded else Prompts.of_words(found)).to(run.device)


def _measured(view: View, rows: Sequence[int], features: LatentFeatures, run: SamplingRun) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    ids = view.ids
    for start in range(0, len(rows), CHUNK):
        chosen = list(rows[start : start + CHUNK])
        latents = run.to_model_space(view.latents[chosen].to(run.device).float())
        found.update(zip([ids[row] for row in chosen], features(latents).cpu(), strict=True))
    return found


def _as_of(run: SamplingRun, latent: Tensor) -> Tensor:
    """A picture's latent among those of videos: one frame stands for as many as the run has."""
    if latent.ndim == 4 and len(run.latent_shape) == 4:
        latent = latent.unsqueeze(2)
    if latent.ndim == 5 and len(run.latent_shape) == 4:
        return latent[:, :, :1].expand(-1, -1, run.latent_shape[1], -1, -1)
    return latent


def _notes(*, other_size: int, skipped: int, decoded: int, blank: int, unencoded: int) -> tuple[str, ...]:
    advice = "Remember pictures with their features to avoid that."
    notes = []
    if other_size:
        notes.append(f"{_counted(other_size)} of another size and left out.")
    if blank:
        notes.append(f"{_counted(blank)} without contrast and left out.")
    if unencoded:
        notes.append(
            f"{_counted(unencoded)} without such a conditioning and left out. Wire it into Save to Memory Bank, too."
        )
    if skipped:
        notes.append(f"{_counted(skipped)} without features and left out beyond the newest {MOST_DECODED}. {advice}")
    elif decoded:
        notes.append(f"{_counted(decoded)} without features and decoded first. {advice}")
    return tuple(notes)


def _counted(count: int) -> str:
    return "1 remembered picture was" if count == 1 else f"{count} remembered pictures were"
