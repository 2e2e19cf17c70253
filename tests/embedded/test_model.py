"""The host-free loop, with networks small enough to be followed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diversity_guidance.embedded.latent_space import LATENT_FORMAT
from diversity_guidance.embedded.model import EmbeddedModel, Sampling
from diversity_guidance.embedded.schedule import simple_schedule
from diversity_guidance.embedded.text import PAD, TextEncoder, Vocabulary
from diversity_guidance.embedded.transformer import to_model_space, to_raw_latents
from diversity_guidance.guidance.base import Guidance, SamplingRun, SamplingStep
from diversity_guidance.guidance.trace import Trace
from torch import Tensor, nn


class Straight(nn.Module):
    """A velocity that points from one picture, whose value the prompt gives, to the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(
        self, x: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, return_dict: bool = True
    ) -> tuple[Tensor]:
        self.calls += 1
        target = pooled[:, :1, None, None].expand_as(x)
        return ((x - target) / (times / 1000)[:, None, None, None],)


class Recorder(Guidance):
    """Returns what it is given, and remembers it."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift
        self.run: SamplingRun | None = None
        self.steps: list[SamplingStep] = []
        self.finished: Tensor | None = None

    def begin(self, run: SamplingRun) -> None:
        self.run = run

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        self.steps.append(step)
        return denoised + self.shift if self.shift else denoised

    def finish(self, samples: Tensor) -> Tensor:
        self.finished = samples
        return samples + 1

    @property
    def trace(self) -> Trace:
        return Trace()


@pytest.fixture
def model() -> EmbeddedModel:
    text = TextEncoder(Vocabulary([PAD, "one", "two"]))
    with torch.no_grad():
        text.token_embedding.weight.copy_(torch.arange(3.0)[:, None].expand(-1, 128))
    return EmbeddedModel(Straight(), text.eval(), None)  # type: ignore[arg-type]


def test_the_flow_ends_at_what_the_prompt_says(model: EmbeddedModel) -> None:
    drawn = to_model_space(model.sample(["one", "two"], 0, steps=5, cfg=1.0))
    expected = torch.tensor([1.0, 2.0])[:, None, None, None].expand(2, 16, 8, 8)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-5)
    assert model.transformer.calls == 5


def test_classifier_free_guidance_goes_beyond_the_prompt(model: EmbeddedModel) -> None:
    drawn = to_model_space(model.sample(["one"], 0, steps=5, cfg=4.0))
    torch.testing.assert_close(drawn, torch.full((1, 16, 8, 8), 4.0), rtol=0, atol=1e-5)
    assert model.transformer.calls == 10


def test_a_model_is_sampled_as_it_is_meant_to_be_unless_told_otherwise(model: EmbeddedModel) -> None:
    few = replace(model, sampling=Sampling(steps=3, cfg=1.0))
    few.sample(["one"], 0)
    assert model.transformer.calls == 3
    few.sample(["one"], 0, steps=2, cfg=2.0)
    assert model.transformer.calls == 3 + 2 * 2


def test_a_guidance_is_told_everything(model: EmbeddedModel) -> None:
    recorder, told = Recorder(), []
    seen = model.sample(
        ["one", "two"], 7, steps=4, cfg=3.0, size=32, guidance=recorder, progress=lambda *at: told.append(at)
    )
    run = recorder.run
    assert run is not None
    assert (run.batch_size, run.latent_shape, run.latent_format, run.seed) == (2, (16, 4, 4), LATENT_FORMAT, 7)
    assert torch.equal(run.sigmas, simple_schedule(4))
    assert run.to_model_space is to_model_space
    assert [step.sigma for step in recorder.steps] == run.sigmas[:-1].tolist()
    assert [step.next_sigma for step in recorder.steps] == run.sigmas[1:].tolist()
    assert [step.progress for step in recorder.steps] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    expected = torch.randn((2, 16, 4, 4), generator=torch.Generator("cpu").manual_seed(7))
    assert torch.equal(recorder.steps[0].noisy, expected)
    torch.testing.assert_close(recorder.steps[0].conditional[1], torch.full((16, 4, 4), 2.0), rtol=0, atol=1e-5)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    # What finish returns is the result.
    assert recorder.finished is not None
    assert torch.equal(seen, to_raw_latents(recorder.finished + 1))


def test_without_classifier_free_guidance_the_conditional_estimate_is_the_estimate(model: EmbeddedModel) -> None:
    class Same(Recorder):
        def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
            assert step.conditional is denoised
            return super().__call__(denoised, step)

    same = Same()
    model.sample(["one"], 0, steps=1, cfg=1.0, guidance=same)
    assert [step.progress for step in same.steps] == [0]


def test_a_guided_estimate_is_what_the_flow_follows(model: EmbeddedModel) -> None:
    recorder = Recorder(shift=0.5)
    model.sample(["one"], 0, steps=6, cfg=1.0, guidance=recorder)
    torch.testing.assert_close(recorder.finished, torch.full((1, 16, 8, 8), 1.5), rtol=0, atol=1e-5)


def test_the_same_seed_draws_the_same(model: EmbeddedModel) -> None:
    torch.manual_seed(3)
    first = model.sample(["one"], 5, steps=2)
    torch.manual_seed(4)
    assert torch.equal(model.sample(["one"], 5, steps=2), first)


@pytest.mark.parametrize("wrong", [{"prompts": []}, {"size": 24}, {"size": 0}, {"size": -16}, {"steps": 0}])
def test_bad_input(model: EmbeddedModel, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least one prompt|between 1 and"):
        model.sample(**{"prompts": ["one"], "seed": 0, **wrong})  # type: ignore[arg-type]


def test_too_many_words(model: EmbeddedModel) -> None:
    text = TextEncoder(Vocabulary([PAD, *(f"word{index}x" for index in range(9))]))
    crowded = EmbeddedModel(model.transformer, text, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave some out"):
        crowded.sample([" ".join(f"word{index}x" for index in range(9))], 0)
