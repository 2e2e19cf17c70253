"""The weights that ship: sizes, and that they do what the model card says."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.benchmarks.model_card import PROMPTS, say_everything
from diversity_guidance.embedded.assets_path import ASSETS, asset
from diversity_guidance.embedded.autoencoder import load_autoencoder
from diversity_guidance.embedded.judge import Judge
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.embedded.reals import RealImages
from diversity_guidance.embedded.text import TextEncoder
from diversity_guidance.embedded.training.judge import targets_of
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def test_the_files_stay_small() -> None:
    sizes = [path.stat().st_size for path in ASSETS.iterdir()]
    assert sum(sizes) < 30_000_000
    assert max(sizes) < 20_000_000


@pytest.mark.parametrize("name", ["mmdit", "text", "vae", "judge"])
def test_weights_are_finite_half_precision(name: str) -> None:
    for key, value in load_file(asset(f"{name}.safetensors")).items():
        assert value.dtype == torch.float16, key
        assert value.isfinite().all(), key


def test_a_missing_file_is_told() -> None:
    with pytest.raises(ValueError, match="Install the package again"):
        asset("nothing.safetensors")


def test_the_model_knows_the_words_of_every_real_picture() -> None:
    known = set(TextEncoder.load().vocabulary.words)
    assert set().union(*(label.words for label in RealImages.load().labels)) <= known


def test_the_card_s_prompts_leave_fifteen_modes_open_on_average(judge: Judge) -> None:
    known = [len(judge.reals.modes(prompt)) for prompt in PROMPTS]
    assert known == [12, 36, 12, 12, 18, 6, 12, 12]


def test_pictures_survive_the_autoencoder(judge: Judge) -> None:
    images = judge.reals.images(torch.arange(0, len(judge.reals.labels), 97))
    autoencoder = load_autoencoder()
    squared = (autoencoder.decode(autoencoder.encode(images)) - images).square().mean((1, 2, 3))
    assert float((-10 * squared.log10()).mean()) > 27


def test_the_judge_reads_real_pictures(judge: Judge) -> None:
    rows = torch.arange(0, len(judge.reals.labels), 23)
    logits = judge.network(judge.reals.images(rows))
    targets = targets_of(judge.network, [judge.reals.labels[row] for row in rows.tolist()])
    for head, numbers in targets.items():
        wrong = (logits[head].argmax(1) != torch.tensor(numbers)).float().mean()
        assert wrong < 0.08, head


def test_prompts_are_followed(judge: Judge) -> None:
    model = EmbeddedModel.load()
    prompts = [say_everything(judge.reals.labels[row]) for row in range(150, len(judge.reals.labels), 300)]
    pictures = model.decode(model.sample(prompts, seed=3, cfg=3.0))
    faithful = [
        judge.judge(picture[None], prompt)[0].faithful for picture, prompt in zip(pictures, prompts, strict=True)
    ]
    assert sum(faithful) >= 0.8 * len(prompts)
