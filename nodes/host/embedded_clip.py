"""The embedded model's text encoder as a CLIP, so that the host's text nodes work with it."""

from __future__ import annotations

from typing import Any

import comfy.sd
import torch
from torch import Tensor, nn

from ...embedded.text import TextEncoder
from .messages import logger, show_on_executing_node

Tokens = dict[str, list[list[tuple[int, float]]]]

BATCH = "words"


class _Tokenizer:
    """Prompts to token numbers; warns about unknown words."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> Tokens:
        """Eight token numbers with weight 1, whatever weights are in brackets; ValueError for more known words."""
        if unknown := self.encoder.unknown_words(text):
            words = ", ".join(f'"{word}"' for word in unknown)
            sentence = (
                f"The embedded model does not know these words and ignores them: {words}. The help lists its words."
            )
            logger.warning(sentence)
            show_on_executing_node(sentence)
        numbers = self.encoder.tokenize(text).tolist()
        return {BATCH: [[(number, 1.0) for number in numbers]]}

    def untokenize(self, token_weight_pair: list[tuple[int, float]]) -> list[tuple[tuple[int, float], str]]:
        """Pair every token with its word."""
        words = self.encoder.vocabulary.words
        return [(pair, words[pair[0]]) for pair in token_weight_pair]

    def state_dict(self) -> dict[str, Tensor]:
        """The tokenizer has nothing to save."""
        return {}


class _ClipModel(nn.Module):
    """The interface that the host expects of a text encoder."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.dtypes = {torch.float32}

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """The encoder has no options."""

    def reset_clip_options(self) -> None:
        """The encoder has no options."""

    def encode_token_weights(self, token_weight_pairs: Tokens) -> tuple[Tensor, Tensor]:
        """Token numbers to (tokens (B, 8, 128), pooled (B, 128)) on the CPU."""
        numbers = [[number for number, _ in prompt] for prompt in token_weight_pairs[BATCH]]
        device = self.encoder.token_embedding.weight.device
        tokens, pooled = self.encoder(torch.tensor(numbers, device=device))
        return tokens.cpu(), pooled.cpu()

    def load_sd(self, sd: dict[str, Tensor]) -> tuple[list[str], list[str]]:
        """Load weights; returns the missing and the unexpected names."""
        missing, unexpected = self.encoder.load_state_dict(sd, strict=False)
        return list(missing), list(unexpected)


def embedded_clip() -> comfy.sd.CLIP:
    """The embedded text encoder as a CLIP."""
    encoder = TextEncoder.load()

    class Target:
        """The parts of a text encoder, by the host's names."""

        params: dict[str, Any] = {}  # noqa: RUF012

        @staticmethod
        def clip(device: torch.device, **_: Any) -> _ClipModel:
            """The network, on the device that the host chose."""
            return _ClipModel(encoder).to(device)

        @staticmethod
        def tokenizer(**_: Any) -> _Tokenizer:
            """The tokenizer."""
            return _Tokenizer(encoder)

    parameters = sum(weight.numel() for weight in encoder.parameters())
    return comfy.sd.CLIP(Target, parameters=parameters, model_options={"dtype": torch.float32})
