"""A Memory Bank's images of similar prompts: one bank then serves every prompt.

Prompts are compared as Vendi Guidance does (``prompts``; SPARKE, arXiv 2506.10173): by their encodings where the bank
holds these, and by their words elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .prompts import EncodedPrompt, Prompts
from .references import FeatureBank, ReferenceSource, View

ROUNDING = 1e-5


@dataclass(frozen=True)
class RunPrompt:
    """The prompt of a run.

    Attributes:
        text: one for all images of a batch, or one for each; None where it is not known.
        encoded: by the text encoder; None where it is not known.
    """

    text: str | Sequence[str] | None = None
    encoded: EncodedPrompt | None = None


@dataclass(frozen=True)
class _Similar:
    """The images of a bank whose prompts are similar: a view."""

    latents: Tensor
    ids: tuple[str, ...]
    seeds: tuple[int | None, ...]
    keys: tuple[str, ...]
    left_out: int
    unreadable: str


@dataclass(frozen=True)
class SimilarPrompts:
    """A bank of which the images count whose prompts are similar to those of a run: a reference source.

    With several prompts in a batch, an image counts if its prompt is similar to one of them.

    Attributes:
        bank: the images.
        prompt: of the run.
        least: similarity from which on an image counts, above 0 to 1.
    """

    bank: FeatureBank
    prompt: RunPrompt
    least: float

    @property
    def name(self) -> str:
        """The bank's name."""
        return getattr(self.bank, "name", "")

    @property
    def encoder(self) -> str:
        """Fingerprint of the bank's VAE; "" where unknown."""
        return getattr(self.bank, "encoder", "")

    def matching(self, latent_format: str, latent_shape: tuple[int, ...]) -> View:
        """The images that count.

        Raises:
            ValueError: the bank holds another latent format, or encodings of another length.
        """
        view = self.bank.matching(latent_format, latent_shape)
        similarity, unknown = self._similarities(view.ids)
        # Rounding must not tell a prompt from itself.
        rows = [row for row, value in enumerate(similarity.tolist()) if value >= self.least - ROUNDING]
        told = self._told(len(view.ids), len(rows), unknown)
        latents = view.latents if len(rows) == len(view.ids) else view.latents[rows]
        ids, seeds = tuple(view.ids[row] for row in rows), tuple(view.seeds[row] for row in rows)
        keys = tuple(view.keys[row] for row in rows)
        return _Similar(latents, ids, seeds, keys, view.left_out, " ".join(filter(None, (told, view.unreadable))))

    def _similarities(self, ids: Sequence[str]) -> tuple[Tensor, int]:
        """The similarity of each image's prompt, (N,), and the number of images whose prompt is not known."""
        texts = {entry.id: entry.prompt for entry in self.bank.entries}
        encodings = {}
        if self.prompt.encoded is not None:
            encodings = dict(zip(*self.bank.features(self.prompt.encoded.tag), strict=True))
        by_encoding = [place for place, name in enumerate(ids) if name in encodings]
        by_text = [
            place
            for place, name in enumerate(ids)
            if name not in encodings and texts.get(name) is not None and self.prompt.text is not None
        ]
        similarity = torch.zeros(len(ids))
        if by_encoding and self.prompt.encoded is not None:
            rows = torch.stack([encodings[ids[place]].float().flatten() for place in by_encoding])
            if rows.shape[1] != self.prompt.encoded.vectors.shape[1]:
                raise ValueError(
                    f"The bank holds encoded prompts of {rows.shape[1]} numbers, and this model's have "
                    f"{self.prompt.encoded.vectors.shape[1]}: use the model that made them, or another bank."
                )
            similarity[by_encoding] = _nearest(
                Prompts.from_encodings(rows), Prompts.from_encodings(self.prompt.encoded.vectors)
            )
        if by_text and self.prompt.text is not None:
            own = [self.prompt.text] if isinstance(self.prompt.text, str) else list(self.prompt.text)
            rows = Prompts.from_words([texts[ids[place]] for place in by_text])
            similarity[by_text] = _nearest(rows, Prompts.from_words(own))
        return similarity, len(ids) - len(by_encoding) - len(by_text)

    def _told(self, total: int, counting: int, unknown: int) -> str:
        if not total:
            return ""
        without = f"; of {unknown:,} the prompt is not known" if unknown else ""
        return f"{counting:,} of {total:,} images of the bank count, as their prompts are similar{without}."


def of_similar_prompts(
    sources: Sequence[ReferenceSource], prompt: RunPrompt | None, least: float
) -> tuple[ReferenceSource, ...]:
    """The sources, of which banks are restricted to similar prompts; the very same for 0 or without a prompt."""
    if least == 0 or prompt is None or (prompt.text is None and prompt.encoded is None):
        return tuple(sources)
    return tuple(
        SimilarPrompts(source, prompt, least) if isinstance(source, FeatureBank) else source for source in sources
    )


def _nearest(rows: Prompts, own: Prompts) -> Tensor:
    """Similarity of each row to the nearest of a run's prompts, (n,)."""
    return rows.similarity(own).amax(1)
