"""The training scripts, each for a second on a miniature of the data."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from diversity_guidance.embedded.autoencoder import load_autoencoder
from diversity_guidance.embedded.judge_network import JudgeNetwork
from diversity_guidance.embedded.reals import Label, RealImages, vocabulary_of
from diversity_guidance.embedded.text import TextEncoder
from diversity_guidance.embedded.training import (
    autoencoder,
    judge,
    reals,
    transformer,
)
from diversity_guidance.embedded.training.captions import CaptionSampler
from diversity_guidance.embedded.training.data import read_labels, read_pixels
from diversity_guidance.embedded.training.loop import WeightAverage, cosine_rate
from diversity_guidance.embedded.transformer import load_transformer

from .emoji_packages import write_packages

SECOND = "0.017"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packages(tmp_path_factory.mktemp("node_modules"))


def test_gender_and_skin_variants_share_a_concept(data: Path) -> None:
    _, labels = read_labels(data)
    assert Counter(label.concept for label in labels) == {"running": 18, "doctor": 6, "cat": 2}
    assert Label("running", "woman", "dark-skin", "twitter", "people") in labels
    assert Label("running", "person", "default-skin", "google", "people") in labels
    assert Label("doctor", "person", "", "google", "people") in labels
    assert Label("cat", "", "", "google", "animal") in labels


def test_pictures_lie_on_white(data: Path) -> None:
    paths, labels = read_labels(data)
    pixels = read_pixels(paths)
    assert pixels.shape == (len(labels), 3, 64, 64)
    assert pixels[0, :, 0, 0].tolist() == [255, 255, 255]
    assert pixels[0, :, 32, 32].tolist() == [0, 0, 90]


def test_missing_packages_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="npm install"):
        read_labels(tmp_path)


def test_captions_mention_attributes_at_their_rates() -> None:
    labels = [
        Label("running", "woman", "dark-skin", "twitter", "people"),
        Label("running", "person", "default-skin", "google", "people"),
    ]
    vocabulary = vocabulary_of(labels)
    count = 4000
    sampler = CaptionSampler(labels, vocabulary, seed=0)
    sampled = [Counter(sampler.sample([image] * count).flatten().tolist()) for image in range(2)]
    rates = [{word: sampled[i][n] / count for n, word in enumerate(vocabulary.words)} for i in range(2)]
    assert rates[0]["running"] == pytest.approx(0.87, abs=0.03)
    for word, rate in {"woman": 0.65, "dark-skin": 0.6, "twitter": 0.6}.items():
        assert rates[0][word] == pytest.approx(0.87 * rate, abs=0.03)
    for word, rate in {"person": 0.35, "default-skin": 0.3, "google": 0.4}.items():
        assert rates[1][word] == pytest.approx(0.87 * rate, abs=0.03)


def test_sigmas_are_stratified_logit_normal() -> None:
    sigmas = transformer.draw_sigmas(1000, torch.Generator().manual_seed(0))
    logits = torch.logit(sigmas)
    assert float(logits.mean()) == pytest.approx(0.4, abs=0.01)
    assert float(logits.std()) == pytest.approx(1.2, abs=0.01)
    assert not torch.equal(sigmas, sigmas.sort().values), "a batch's noise must not depend on its order"


def test_the_rate_warms_up_and_comes_down() -> None:
    rates = [cosine_rate(progress / 100, 1.0) for progress in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[2] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0.02)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_the_average_swaps_in_and_out() -> None:
    weight = torch.zeros(3)
    average = WeightAverage([weight], decay=0.5)
    weight += 8
    average.update()
    assert average.values[0].tolist() == pytest.approx([8 * 9 / 11] * 3)
    average.swap()
    assert weight.tolist() == pytest.approx([8 * 9 / 11] * 3)
    average.swap()
    assert weight.tolist() == [8.0] * 3


def test_from_nothing_to_a_model_that_draws(data: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(data), "--out", str(tmp_path / "ae"), "--minutes", SECOND, "--batch", "2"]
    autoencoder.main(arguments)
    vae = tmp_path / "ae" / "vae.safetensors"
    latents = load_autoencoder(vae).encode(torch.rand(1, 3, 64, 64))
    assert latents.shape == (1, 16, 8, 8)

    arguments = ["--data", str(data), "--out", str(tmp_path / "tr"), "--minutes", SECOND, "--batch", "4"]
    transformer.main([*arguments, "--autoencoder", str(vae)])
    text = TextEncoder.load(tmp_path / "tr" / "text.safetensors")
    network = load_transformer(tmp_path / "tr" / "mmdit.safetensors")
    context, pooled = text.encode(["woman running"])
    velocity = network(torch.randn(1, 16, 8, 8), context, pooled, torch.tensor([500.0]), return_dict=False)[0]
    assert velocity.isfinite().all()


def test_training_goes_on_where_it_stopped(data: Path, tmp_path: Path) -> None:
    for script, weights in ((autoencoder, "vae.safetensors"), (transformer, "mmdit.safetensors")):
        out = tmp_path / script.__name__
        arguments = ["--data", str(data), "--out", str(out), "--batch", "2"]
        script.main([*arguments, "--minutes", SECOND])
        first = json.loads((out / "training.json").read_text())
        script.main([*arguments, "--minutes", str(10 * float(SECOND)), "--resume"])
        second = json.loads((out / "training.json").read_text())
        assert second["steps"] > first["steps"]
        assert second["seconds"] > first["seconds"]
        assert (out / weights).is_file()


def test_a_frozen_encoder_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(data), "--minutes", SECOND, "--batch", "2"]
    autoencoder.main([*arguments, "--out", str(tmp_path / "first")])
    first = tmp_path / "first" / "vae.safetensors"
    autoencoder.main([*arguments, "--out", str(tmp_path / "second"), "--init", str(first), "--freeze-encoder"])
    images = torch.rand(2, 3, 64, 64)
    before, after = (load_autoencoder(tmp_path / run / "vae.safetensors") for run in ("first", "second"))
    torch.testing.assert_close(after.encode(images), before.encode(images), atol=2e-3, rtol=2e-3)
    assert not torch.equal(after.decode(before.encode(images)), before.decode(before.encode(images)))


def test_the_judge_learns_and_is_measured_on_unseen_combinations(data: Path, tmp_path: Path) -> None:
    _, labels = read_labels(data)
    held_out = judge.hold_out(labels)
    assert {labels[row].concept for row in held_out} == {"running"}, "only concepts with many variants are held out"
    judge.main(["--data", str(data), "--out", str(tmp_path), "--minutes", SECOND])
    assert JudgeNetwork.load(tmp_path / "judge.safetensors").classes["concept"] == ("cat", "doctor", "running")
    errors = json.loads((tmp_path / "judge.json").read_text())["errors"]
    assert all(0 <= rate <= 1 for part in errors.values() for rate in part.values())


def test_packed_real_pictures_can_be_read(data: Path, tmp_path: Path) -> None:
    reals.main(["--data", str(data), "--out", str(tmp_path), "--quality", "90"])
    packed = RealImages.load(tmp_path)
    paths, labels = read_labels(data)
    assert sorted(packed.labels) == sorted(labels)
    by_label = dict(zip(labels, read_pixels(paths), strict=True))
    expected = torch.stack([by_label[label] for label in packed.labels]).float() / 255
    error = (packed.images(torch.arange(len(labels))) - expected).square().mean().sqrt()
    assert error < 0.02
