"""The distillation: segments, student, and the script for a second on the package's own images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diversity_guidance.embedded.lora import TURBO_LORA, Lora
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.embedded.reals import RealImages
from diversity_guidance.embedded.schedule import simple_schedule
from diversity_guidance.embedded.text import PAD, TextEncoder, Vocabulary
from diversity_guidance.embedded.training import distil
from diversity_guidance.embedded.training.low_rank import LowRankStudent
from diversity_guidance.embedded.training.piecewise import (
    SEGMENTS,
    GuidedTeacher,
    Segments,
    Velocity,
    level,
    noisy_segments,
    straightness_loss,
    whole_paths,
)
from diversity_guidance.embedded.transformer import load_transformer, new_transformer, to_native
from safetensors.torch import safe_open, save_file
from torch import Tensor, nn


class WordIsVelocity(nn.Module):
    """Velocity: what the first number of the pooled prompt says."""

    def forward(self, x: Tensor, context: Tensor, pooled: Tensor, times: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (pooled[:, :1, None, None].expand_as(x),)


@pytest.fixture
def text() -> TextEncoder:
    encoder = TextEncoder(Vocabulary([PAD, "one", "two"]))
    with torch.no_grad():
        encoder.token_embedding.weight.copy_(torch.arange(3.0)[:, None].expand(-1, 128))
    return encoder.requires_grad_(False)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_segments_end_where_the_four_step_schedule_does() -> None:
    index = torch.arange(SEGMENTS)
    torch.testing.assert_close(level(index, 0.0), simple_schedule(4)[:-1])
    torch.testing.assert_close(level(index, 1.0), simple_schedule(4)[1:])
    torch.testing.assert_close(level(index, 0.5), simple_schedule(8)[1::2])


def test_the_teacher_follows_the_guided_velocity(text: TextEncoder) -> None:
    teacher = GuidedTeacher(WordIsVelocity(), text, [5.0, 3.0, 5.0, 3.0], sub_steps=2)
    tokens = torch.stack([text.tokenize("one"), text.tokenize("")])
    index = torch.tensor([1, 3])
    found = teacher.follow(torch.zeros(2, 16, 2, 2), index, tokens)
    moved = (level(index, 1.0) - level(index, 0.0)) * torch.tensor([3.0, 0.0])
    torch.testing.assert_close(found.leave.mean((1, 2, 3)), moved)


def test_paths_go_on_where_teacher_or_student_arrived(text: TextEncoder, generator: torch.Generator) -> None:
    teacher = GuidedTeacher(WordIsVelocity(), text, [1.0] * SEGMENTS, sub_steps=1)
    tokens = text.tokenize("one").expand(64, -1)
    found = whole_paths(
        teacher, lambda x, sigma, tokens: 2 * torch.ones_like(x), torch.zeros(64, 16, 1, 1), tokens, generator
    )
    assert [part.index.unique().tolist() for part in found] == [[0], [1], [2], [3]]
    entered = found[1].enter[:, 0, 0, 0]
    assert sorted({round(value, 3) for value in entered.tolist()}) == [-0.2, -0.1]


def test_segments_of_image_to_image_begin_at_noised_latents(text: TextEncoder, generator: torch.Generator) -> None:
    teacher = GuidedTeacher(WordIsVelocity(), text, [1.0] * SEGMENTS, sub_steps=1)
    latents, noise = torch.zeros(9, 16, 1, 1), torch.ones(9, 16, 1, 1)
    found = noisy_segments(teacher, latents, noise, text.tokenize("").expand(9, -1), generator)
    torch.testing.assert_close(found.enter[:, 0, 0, 0], level(found.index, 0.0))


def test_a_student_that_knows_the_line_has_no_error(generator: torch.Generator) -> None:
    enter, leave = torch.randn(2, 32, 16, 2, 2, generator=generator)
    index = torch.randint(SEGMENTS, (32,), generator=generator)
    segments = Segments(enter, leave, index, torch.zeros(32, 8, dtype=torch.int64))
    start, end = (level(index, share).view(-1, 1, 1, 1) for share in (0.0, 1.0))
    line = (leave - enter) / (end - start)

    def off_by(error: float) -> Velocity:
        def student(x: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
            torch.testing.assert_close(x, enter + (sigma.view(-1, 1, 1, 1) - start) * line, atol=1e-4, rtol=1e-4)
            return line + error

        return student

    assert float(straightness_loss(off_by(0.0), segments, generator)) == 0
    # Segments are 0.1, 0.15, 0.25 and 0.5 long, a quarter on average.
    weights = torch.tensor([0.4, 0.6, 1.0, 2.0])[index]
    torch.testing.assert_close(straightness_loss(off_by(0.5), segments, generator), 0.25 * weights.mean())


def test_the_newest_segments_are_kept() -> None:
    def numbered(first: int, count: int) -> Segments:
        rows = torch.arange(first, first + count)
        return Segments(rows, rows, rows, rows)

    assert numbered(0, 3).concat(numbered(3, 4), kept=5).index.tolist() == [2, 3, 4, 5, 6]


def test_the_student_starts_at_the_base_or_near_other_weights(text: TextEncoder, generator: torch.Generator) -> None:
    network, other = new_transformer(1), to_native(new_transformer(1).state_dict())
    base = {key: value.clone() for key, value in network.state_dict().items()}
    student = LowRankStudent(network, text, 1000, generator)
    assert all(torch.equal(value, base[key]) for key, value in student.weights().items())
    student.start_near(other)
    weights = to_native(student.weights())
    matrices = [key for key in other if key.endswith(".weight") and other[key].ndim == 2]
    for key in matrices:
        torch.testing.assert_close(weights[key], other[key], atol=1e-5, rtol=1e-4)


def test_what_the_student_stores_is_what_it_computes_with(text: TextEncoder, generator: torch.Generator) -> None:
    network = new_transformer(1)
    student = LowRankStudent(network, text, 4, generator)
    x, sigma, tokens = torch.randn(2, 16, 4, 4), torch.rand(2), torch.ones(2, 8, dtype=torch.int64)
    student.velocity(x, sigma, tokens).square().sum().backward()
    ups = student.parameters[1::2]
    assert all(up.grad is not None for up in ups) and sum(bool(up.grad.any()) for up in ups) > len(ups) / 2
    with torch.no_grad():
        for up in ups:
            up.normal_(generator=generator)
    merged = Lora(student.tensors(), "").merged(to_native(network.state_dict()))
    weights = to_native(student.weights())
    assert all(torch.allclose(merged[key], weights[key], atol=1e-5) for key in merged)


def test_the_script_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reals = RealImages.load()
    few = RealImages(reals.pixels[:4], reals.labels[:4])
    monkeypatch.setattr(RealImages, "load", lambda: few)
    small = ["--rank", "2", "--sub-steps", "1", "--paths", "2", "--reals", "2", "--updates", "1", "--batch", "2"]
    arguments = ["--out", str(tmp_path), *small]
    distil.main([*arguments, "--minutes", "0.017"])
    rounds = [json.loads(training(tmp_path))["rounds"]]
    distil.main([*arguments, "--minutes", "0.17", "--resume"])
    rounds.append(json.loads(training(tmp_path))["rounds"])
    assert rounds[1] > rounds[0] > 0
    path = tmp_path / TURBO_LORA
    model = EmbeddedModel.load()
    plain = model.sample(["doctor"], 1, steps=1, cfg=1.0)
    changed = EmbeddedModel(load_transformer(lora=path), model.text, model.autoencoder)
    assert not torch.equal(changed.sample(["doctor"], 1, steps=1, cfg=1.0), plain)


def test_the_script_goes_on_from_no_lora_of_other_weights(tmp_path: Path) -> None:
    save_file({"latents": torch.zeros(1, 16, 8, 8)}, tmp_path / "latents.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({}, other)
    with pytest.raises(ValueError, match="other weights"):
        distil.main(["--out", str(tmp_path), "--init", str(other)])


def training(folder: Path) -> str:
    with safe_open(folder / TURBO_LORA, framework="pt") as file:
        return file.metadata()["training"]
