"""One bank for every prompt: Sparse Repellency counts the images of similar prompts, and says how many these are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.guidance.prompts import EncodedPrompt
from diversity_guidance.guidance.references import ImageReferences
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.similar_prompts import RunPrompt, SimilarPrompts, of_similar_prompts
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from support.random_latents import SHAPE, random_latents

PROMPTS = ["a red cat", "a red dog", "two boats at sea", None]
CAT, BOATS = RunPrompt("A RED CAT!"), RunPrompt("two boats at sea")


def bank(prompts: Sequence[str | None] = PROMPTS, encodings: torch.Tensor | None = None) -> BankSnapshot:
    features = None if encodings is None else {"enc": encodings}
    return BankSnapshot.empty().extended(
        random_latents(len(prompts)),
        latent_format="SD3",
        prompts=prompts,
        seeds=list(range(len(prompts))),
        features=features,
    )


def counted(prompt: RunPrompt, least: float, of: BankSnapshot | None = None) -> list[int]:
    """Numbers of the images that count."""
    snapshot = of or bank()
    names = [entry.id for entry in snapshot.entries]
    view = SimilarPrompts(snapshot, prompt, least).matching("SD3", SHAPE)
    found = [names.index(name) for name in view.ids]
    assert torch.equal(view.latents, random_latents(len(names)).half()[found]) and list(view.seeds) == found
    return found


@pytest.mark.parametrize(
    ("prompt", "least", "expected"),
    [
        (CAT, 1.0, [0]),
        (CAT, 0.5, [0, 1]),
        (CAT, 0.01, [0, 1]),
        (BOATS, 0.5, [2]),
        (RunPrompt("quite another thing"), 0.5, []),
        (RunPrompt(["a red cat", "two boats at sea"]), 0.9, [0, 2]),
    ],
)
def test_images_of_similar_words_count(prompt: RunPrompt, least: float, expected: list[int]) -> None:
    assert counted(prompt, least) == expected


def test_encodings_come_first_and_words_where_there_are_none() -> None:
    encodings = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.9, 0.1, 0]]))
    known = bank(encodings=encodings)
    own = EncodedPrompt(torch.tensor([[5.0, 0, 0]]), "enc")
    assert counted(RunPrompt(encoded=own), 0.5, known) == [0, 3]
    assert counted(RunPrompt("two boats at sea", own), 0.5, known) == [0, 3]
    # Another text encoder: none of the bank's encodings is of it.
    assert counted(RunPrompt("two boats at sea", EncodedPrompt(own.vectors, "another")), 0.5, known) == [2]
    assert counted(RunPrompt(encoded=EncodedPrompt(own.vectors, "another")), 0.5, known) == []
    with pytest.raises(ValueError, match="encoded prompts of 3 numbers, and this model's have 2"):
        counted(RunPrompt(encoded=EncodedPrompt(torch.ones(1, 2), "enc")), 0.5, known)


def test_only_banks_are_restricted_and_only_when_asked() -> None:
    avoided, known = ImageReferences(random_latents(1, seed=1)), bank()
    assert of_similar_prompts((known, avoided), CAT, 0.0) == (known, avoided)
    assert of_similar_prompts((known, avoided), None, 0.5) == (known, avoided)
    assert of_similar_prompts((known, avoided), RunPrompt(), 0.5) == (known, avoided)
    restricted, same = of_similar_prompts((known, avoided), CAT, 0.5)
    assert isinstance(restricted, SimilarPrompts) and same is avoided
    assert (
        SimilarPrompts(bank(["a red cat"] * 3), CAT, 0.5).matching("SD3", SHAPE).unreadable.startswith("3 of 3 images")
    )


def test_the_vae_of_the_bank_is_still_checked() -> None:
    known = BankSnapshot.empty("cats").extended(
        random_latents(1), latent_format="SD3", prompts="a red cat", encoder="ab12"
    )
    guidance = SparseRepellency(RepellencySettings(prompt_similarity=0.5), [known], prompt=CAT)
    run = SamplingRun(1, SHAPE, torch.tensor([1.0, 0.0]), torch.device("cpu"), "SD3", 99, encoder="cd34")
    with pytest.raises(ValueError, match="The bank 'cats' holds latents made by another VAE"):
        guidance.begin(run)


def begun(prompt: RunPrompt | None, least: float, count: int = 1) -> SparseRepellency:
    guidance = SparseRepellency(RepellencySettings(prompt_similarity=least, radius=5.0), [bank()], prompt=prompt)
    guidance.begin(SamplingRun(count, SHAPE, torch.tensor([1.0, 0.5, 0.0]), torch.device("cpu"), "SD3", 99))
    return guidance


def test_a_run_says_how_many_count() -> None:
    told = " ".join(begun(CAT, 0.5).trace.notes)
    assert "2 of 4 images of the bank count, as their prompts are similar; of 1 the prompt is not known." in told
    assert "as their prompts" not in " ".join(begun(CAT, 0.0).trace.notes + begun(None, 0.5).trace.notes)
    assert begun(RunPrompt("quite another thing"), 0.5).trace.inactive == "no reference fits this run"


def test_images_of_other_prompts_push_nothing() -> None:
    """A bank of two prompts acts as one of the prompt's own images does."""
    estimate = random_latents(1, seed=5)
    step = SamplingStep(1.0, 0.5, 0.0, 3 * random_latents(1, seed=6), estimate)
    whole, some, none = (begun(prompt, 0.5) for prompt in (None, CAT, RunPrompt("quite another thing")))
    assert none(estimate, step) is estimate
    assert not torch.equal(whole(estimate, step), some(estimate, step))
    first_two = ImageReferences(random_latents(4).half()[:2])
    direct = SparseRepellency(RepellencySettings(radius=5.0), [first_two])
    direct.begin(SamplingRun(1, SHAPE, torch.tensor([1.0, 0.5, 0.0]), torch.device("cpu"), "SD3", 99))
    assert torch.equal(some(estimate, step), direct(estimate, step)) and not torch.equal(some(estimate, step), estimate)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_similarity_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="prompt_similarity must be a number from 0 to 1"):
        RepellencySettings(prompt_similarity=value)
