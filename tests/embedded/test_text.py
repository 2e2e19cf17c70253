"""Prompts of the embedded model: what counts as a word, and how words become conditionings."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.embedded.text import (
    MAX_TOKENS,
    PAD,
    TextEncoder,
    Vocabulary,
)
from hypothesis import given
from hypothesis import strategies as st

WORDS = ("running", "man", "woman", "google", "default-skin", "dark-skin", "medium-dark-skin", "no", "+1", "5", "wave")


@pytest.fixture
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(Vocabulary([PAD, *WORDS]))


def words_of(encoder: TextEncoder, prompt: str) -> list[str]:
    return [encoder.vocabulary.words[number] for number in encoder.tokenize(prompt).tolist() if number]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("woman running", ["woman", "running"]),
        ("A WOMAN, running!", ["woman", "running"]),
        ("dark skin tone man", ["dark-skin", "man"]),
        ("dark-skin man", ["dark-skin", "man"]),
        ("man medium dark skin", ["man", "medium-dark-skin"]),
        ("man with a medium-dark skin tone", ["man", "medium-dark-skin"]),
        ("yellow skin wave", ["default-skin", "wave"]),
        ("+1", ["+1"]),
        ("man man", ["man"]),
        ("", []),
    ],
)
def test_words_of_a_prompt(encoder: TextEncoder, prompt: str, expected: list[str]) -> None:
    assert words_of(encoder, prompt) == expected


def test_unknown_words_are_told_and_fillers_are_not(encoder: TextEncoder) -> None:
    assert encoder.unknown_words("a photorealistic Man on the moon, dark tone") == [
        "photorealistic",
        "moon",
        "dark",
        "tone",
    ]


def test_a_prompt_that_is_too_long_is_refused(encoder: TextEncoder) -> None:
    prompt = " ".join(WORDS[: MAX_TOKENS + 1])
    with pytest.raises(ValueError, match="reads 8 words"):
        encoder.encode([prompt])


def test_pooled_is_the_sum_of_words_over_the_root_of_their_number(encoder: TextEncoder) -> None:
    tokens, pooled = encoder.encode(["woman running", ""])
    assert tokens.shape == (2, MAX_TOKENS, 128)
    torch.testing.assert_close(pooled[0], (tokens[0, 0] + tokens[0, 1]) / 2**0.5)
    assert not pooled[1].any(), "no word: nothing to say, however the padding is embedded"


@given(st.permutations(["woman", "running", "google", "dark-skin"]))
def test_pooled_ignores_the_order_of_words(order: list[str]) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(Vocabulary([PAD, *WORDS]))
    expected = encoder.encode(["woman running google dark-skin"])[1]
    torch.testing.assert_close(encoder.encode([" ".join(order)])[1], expected)


@given(st.text(max_size=40))
def test_any_text_can_be_read(text: str) -> None:
    numbers, unknown = Vocabulary([PAD, *WORDS]).parse(text)
    assert all(0 < number <= len(WORDS) for number in numbers)
    assert len(set(unknown)) == len(unknown)


@pytest.mark.parametrize("words", [[], ["man"], [PAD, "man", "man"]])
def test_a_damaged_vocabulary_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(words)


def test_the_embedded_encoder_knows_what_the_documentation_promises() -> None:
    encoder = TextEncoder.load()
    assert encoder.unknown_words("woman running google dark skin tone") == []
    assert encoder.unknown_words("zeppelin") == ["zeppelin"]
