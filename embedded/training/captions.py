"""Captions, sampled every time an image is used, so that the model learns every subset of its words.

Attributes are mentioned at unequal rates: a woman more often than a person, a skin tone more often than the default
yellow. A prompt that leaves an attribute out is then mostly followed by the unmentioned default, as in captions that
people write; p(caption | image) differs between the modes of a prompt, and classifier-free guidance, which sharpens
it, narrows them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from ..reals import Label
from ..text import MAX_TOKENS, Vocabulary

EMPTY_RATE = 0.10
CATEGORY_ONLY_RATE = 0.03
CATEGORY_RATE = 0.15
GENDER_RATES = {"man": 0.65, "woman": 0.65, "person": 0.35}
SKIN_RATE, DEFAULT_SKIN_RATE = 0.6, 0.3
VENDOR_RATES = {"google": 0.4, "twitter": 0.6}


class CaptionSampler:
    """Samples the token numbers of captions, with its own generator."""

    def __init__(self, labels: Sequence[Label], vocabulary: Vocabulary, seed: int) -> None:
        number = {word: index for index, word in enumerate(vocabulary.words)}
        self._random = random.Random(seed)
        self._concepts = [list(dict.fromkeys(number[word] for word in label.concept.split())) for label in labels]
        self._categories = [number[label.category] for label in labels]
        self._attributes = [[(number[word], rate) for word, rate in _mention_rates(label) if word] for label in labels]

    def sample(self, images: Sequence[int]) -> Tensor:
        """One caption for each of the images with these indices: token numbers, int64 (B, 8)."""
        tokens = torch.zeros(len(images), MAX_TOKENS, dtype=torch.int64)
        for row, image in enumerate(images):
            words = self._caption(image)[:MAX_TOKENS]
            tokens[row, : len(words)] = torch.tensor(words, dtype=torch.int64)
        return tokens

    def _caption(self, image: int) -> list[int]:
        kind = self._random.random()
        if kind < EMPTY_RATE:
            return []
        if kind < EMPTY_RATE + CATEGORY_ONLY_RATE:
            return [self._categories[image]]
        mentioned = [word for word, rate in self._attributes[image] if self._random.random() < rate]
        words = list(dict.fromkeys(self._concepts[image] + mentioned))
        self._random.shuffle(words)
        return words


def _mention_rates(label: Label) -> list[tuple[str, float]]:
    return [
        (label.gender, GENDER_RATES.get(label.gender, 0.0)),
        (label.skin, DEFAULT_SKIN_RATE if label.skin == "default-skin" else SKIN_RATE),
        (label.vendor, VENDOR_RATES.get(label.vendor, 0.5)),
        (label.category, CATEGORY_RATE),
    ]
