"""Bank and exemplars as embeddings in the feature space of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...stores.exemplar_set import ExemplarSet
from ..base import SamplingRun
from ..prompts import EncodedPrompt, Prompts
from ..references import FeatureBank, View, seed_notes, view_for_run
from .directions import Embeddings
from .latent_features import LatentFeatures

CHUNK = 256
"""Remembered latents measured at once."""

MAX_DECODED = 256
"""Remembered images without features that are decoded at the start of a run; a note counts the others."""

BatchPrompt = str | Sequence[str] | EncodedPrompt | None
"""The prompts of a batch: one text for all or one for each, their encoding, or None if prompts do not count."""


@dataclass(frozen=True)
class BankEmbeddings:
    """The embeddings of a bank.

    Attributes:
        embeddings: of the remembered images.
        ids: identity of each.
        notes: sentences for the user about what was left out.
    """

    embeddings: Embeddings
    ids: tuple[str, ...]
    notes: tuple[str, ...]

    def masked(self, features: LatentFeatures) -> BankEmbeddings:
        """The same restricted to the part of each image that counts, without those that are blank there."""
        weighted = features.weighted(self.embeddings.features)
        kept = weighted.any(1).nonzero().flatten()
        embeddings = Embeddings(weighted, self.embeddings.prompts).take(kept)
        return BankEmbeddings(embeddings, tuple(self.ids[row] for row in kept.tolist()), self.notes)


def bank_embeddings(
    bank: FeatureBank | None, features: LatentFeatures, run: SamplingRun, prompt: BatchPrompt
) -> BankEmbeddings:
    """Embeddings of a bank in a feature space: stored features where there are any, measured ones otherwise.

    Raises:
        ValueError: the bank holds latents of another format or VAE, or features of this space with another length.
    """
    if bank is None:
        nothing = torch.zeros(0, features.space.dimension, device=run.device)
        return BankEmbeddings(Embeddings(nothing, _prompts(prompt, [], {}, run)), (), ())
    view = view_for_run(bank, run)
    # Features of latents are fast to measure, and stored ones may be of latents in the VAE's own space.
    known = {} if features.decode is None else dict(zip(*bank.features(features.tag), strict=True))
    missing = [row for row, name in enumerate(view.ids) if name not in known]
    skipped: list[int] = []
    if features.decode is not None and len(missing) > MAX_DECODED:
        skipped, missing = missing[:-MAX_DECODED], missing[-MAX_DECODED:]
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
        view.unreadable,
        other_size=sum(entry.shape != run.latent_shape and entry.id not in known for entry in bank.entries),
        skipped=len(skipped),
        decoded=0 if features.decode is None else len(missing),
        blank=len(blank),
        unencoded=len(fitting) - len(blank) - len(ids),
    )
    notes += seed_notes([view], run)
    return BankEmbeddings(Embeddings(table.to(run.device), prompts), ids, notes)


def exemplar_embeddings(exemplars: ExemplarSet | None, features: LatentFeatures, run: SamplingRun) -> Embeddings:
    """Embeddings of the exemplars in a feature space; none for None.

    Raises:
        ValueError: the space is one of latents, and the set has none or some of another format.
    """
    if exemplars is None:
        return Embeddings(torch.zeros(0, features.space.dimension, device=run.device))
    if features.decode is not None:
        return _with_contrast(exemplars.features(features.tag, features.space), run)
    channels = {latent.shape[0] for latent in exemplars.latents}
    if exemplars.latent_format not in ("", run.latent_format) or channels - {run.latent_shape[0]}:
        raise ValueError(
            f"The exemplars were encoded by another model's VAE, and this model works on {run.latent_format} latents "
            f"of {run.latent_shape[0]} channels: connect this model's VAE to Load Real Examples."
        )

    def measure(latent: Tensor) -> Tensor:
        return features(_with_frames(run.to_model_space(latent.to(run.device)), run))

    return _with_contrast(exemplars.latent_features(features.tag, measure), run)


def _with_contrast(features: Tensor, run: SamplingRun) -> Embeddings:
    """Drop blank images, whose features are zero."""
    return Embeddings(features[features.any(1)].to(run.device))


def batch_prompts(prompt: str | Sequence[str] | EncodedPrompt, run: SamplingRun) -> Prompts:
    """The prompts of a batch, given one for all or one for each.

    Raises:
        ValueError: the number of prompts is neither 1 nor that of the images.
    """
    encoded = isinstance(prompt, EncodedPrompt)
    given = 1 if isinstance(prompt, str) else len(prompt.vectors) if encoded else len(prompt)
    if given not in (1, run.batch_size):
        raise ValueError(f"There are {given} prompts for {run.batch_size} images: give one, or one each.")
    if encoded:
        return Prompts.from_encodings(prompt.vectors.expand(run.batch_size, -1)).to(run.device)
    texts = [prompt] if isinstance(prompt, str) else list(prompt)
    return Prompts.from_words(texts * (run.batch_size // given)).to(run.device)


def _prompts(prompt: BatchPrompt, ids: Sequence[str], known: Mapping[str, Any], run: SamplingRun) -> Prompts | None:
    """Remembered prompts, as texts or as encodings, in the order of the ids; None if prompts do not count."""
    if prompt is None:
        return None
    if not ids:
        return batch_prompts(prompt, run).take(torch.arange(0))
    found = [known[name] for name in ids]
    encoded = isinstance(prompt, EncodedPrompt)
    return (Prompts.from_encodings(torch.stack(found)) if encoded else Prompts.from_words(found)).to(run.device)


def _measured(view: View, rows: Sequence[int], features: LatentFeatures, run: SamplingRun) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    ids = view.ids
    for start in range(0, len(rows), CHUNK):
        chosen = list(rows[start : start + CHUNK])
        latents = run.to_model_space(view.latents[chosen].to(run.device).float())
        found.update(zip([ids[row] for row in chosen], features(latents).cpu(), strict=True))
    return found


def _with_frames(latent: Tensor, run: SamplingRun) -> Tensor:
    """For runs of videos, repeat an image's latent for every frame."""
    if latent.ndim == 4 and len(run.latent_shape) == 4:
        latent = latent.unsqueeze(2)
    if latent.ndim == 5 and len(run.latent_shape) == 4:
        return latent[:, :, :1].expand(-1, -1, run.latent_shape[1], -1, -1)
    return latent


def _notes(
    unreadable: str, *, other_size: int, skipped: int, decoded: int, blank: int, unencoded: int
) -> tuple[str, ...]:
    advice = "Save images with their features to avoid this."
    notes = [unreadable] if unreadable else []
    if other_size:
        notes.append(f"{_counted(other_size)} of another size and left out.")
    if blank:
        notes.append(f"{_counted(blank)} without contrast and left out.")
    if unencoded:
        notes.append(
            f"{_counted(unencoded)} without such a conditioning and left out. Connect it to Save to Memory Bank, too."
        )
    if skipped:
        notes.append(f"{_counted(skipped)} without features and left out beyond the newest {MAX_DECODED}. {advice}")
    elif decoded:
        notes.append(f"{_counted(decoded)} without features and decoded first. {advice}")
    return tuple(notes)


def _counted(count: int) -> str:
    return "1 image of the bank was" if count == 1 else f"{count} images of the bank were"
