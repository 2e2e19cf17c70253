"""The embedded model's text encoder: a bag of at most eight known words, each with an embedding of 128 numbers.

Needs only torch and safetensors, so that the ComfyUI nodes can use it as a CLIP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from .assets_path import asset

MAX_TOKENS = 8
WIDTH = 128
PAD = "<pad>"
FILLER_WORDS = frozenset({"a", "an", "and", "at", "for", "in", "of", "on", "sign", "the", "to", "with"})
ALIASES = {"yellow-skin": "default-skin"}


class Vocabulary:
    """The words that the embedded model knows, and the parser of prompts.

    Case, punctuation and filler words ("a", "with") are ignored. The longest known phrase wins: "dark skin",
    "dark skin tone" and "dark-skin" are all the word `dark-skin`.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if not words or words[0] != PAD or len(set(words)) != len(words):
            raise ValueError(f"A vocabulary starts with {PAD} and holds every word once: the file is damaged.")
        self.words = tuple(words)
        self._ids: dict[tuple[str, ...], int] = {}
        known = {word: number for number, word in enumerate(words) if number}
        for spelling, number in [*known.items(), *((a, known[w]) for a, w in ALIASES.items() if w in known)]:
            phrase = _simple_words(spelling)
            self._ids[phrase] = number
            if phrase[-1] == "skin":
                self._ids[(*phrase, "tone")] = number
        self._longest = max(map(len, self._ids), default=1)

    def __len__(self) -> int:
        return len(self.words)

    def parse(self, prompt: str) -> tuple[list[int], list[str]]:
        """Numbers of the known words, and the unknown words, each in order and without repetition."""
        simple = _simple_words(prompt)
        numbers: list[int] = []
        unknown: list[str] = []
        start = 0
        while start < len(simple):
            for length in range(min(self._longest, len(simple) - start), 0, -1):
                number = self._ids.get(simple[start : start + length])
                if number is not None:
                    numbers.append(number)
                    break
            else:
                length = 1
                if simple[start] not in FILLER_WORDS:
                    unknown.append(simple[start])
            start += length
        return list(dict.fromkeys(numbers)), list(dict.fromkeys(unknown))


class TextEncoder(nn.Module):
    """Prompts to the two conditionings of a Stable Diffusion 3 transformer."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.token_embedding = nn.Embedding(len(vocabulary), WIDTH)

    @classmethod
    def load(cls, path: Path | None = None) -> TextEncoder:
        """Load a safetensors file (default: the embedded one) in float32.

        Raises:
            ValueError: the file has no vocabulary.
        """
        with safe_open(path or asset("text.safetensors"), framework="pt") as file:
            metadata = file.metadata() or {}
            if "vocabulary" not in metadata:
                raise ValueError(f"{path} carries no vocabulary: it is not a text encoder of the embedded model.")
            encoder = cls(Vocabulary(json.loads(metadata["vocabulary"])))
            encoder.load_state_dict({"token_embedding.weight": file.get_tensor("token_embedding.weight").float()})
        return encoder.eval().requires_grad_(False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Embed token numbers (B, 8): (B, 8, 128), and their sum over the words / sqrt(number of words): (B, 128)."""
        embedded = self.token_embedding(tokens)
        is_word = (tokens != 0).unsqueeze(-1)
        pooled = (embedded * is_word).sum(1) / is_word.sum(1).clamp(min=1).sqrt()
        return embedded, pooled

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prompts to (tokens (B, 8, 128), pooled (B, 128)). Unknown words are ignored; "" is eight pads.

        Raises:
            ValueError: a prompt holds more than eight known words.
        """
        return self(torch.stack([self.tokenize(prompt) for prompt in prompts]))

    def tokenize(self, prompt: str) -> Tensor:
        """Token numbers of one prompt, int64 (8,), padded with 0.

        Raises:
            ValueError: the prompt holds more than eight known words.
        """
        numbers, _ = self.vocabulary.parse(prompt)
        if len(numbers) > MAX_TOKENS:
            raise ValueError(
                f'The embedded model reads {MAX_TOKENS} words, "{prompt}" has {len(numbers)}: leave some out.'
            )
        return torch.tensor(numbers + [0] * (MAX_TOKENS - len(numbers)))

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that the model does not know, in order."""
        return self.vocabulary.parse(prompt)[1]


def _simple_words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\+1|[^\W_]+", text.lower()))
