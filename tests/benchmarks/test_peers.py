"""What others do for diversity, by their equations."""

from __future__ import annotations

import math

import pytest
import torch
from diversity_guidance.benchmarks.modes import Row, in_one_batch
from diversity_guidance.benchmarks.peers.conditioning import (
    AnnealedConditions,
    IntervalGuidance,
    VariedConditions,
    unshifted,
)
from diversity_guidance.benchmarks.peers.latents import (
    CompositionPush,
    EntropyGuidance,
    ParticleGuidance,
    cosine_fields,
    entropy_ascent,
    lowest_periods,
    repulsion,
)
from diversity_guidance.benchmarks.peers.run import conditioned, guided
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.embedded.schedule import shifted
from diversity_guidance.guidance.base import SamplingRun, SamplingStep
from diversity_guidance.guidance.limits import SigmaInterval

PROMPT, SEED, STEPS = "doctor", 3, 5


@pytest.fixture(scope="module")
def model() -> EmbeddedModel:
    return EmbeddedModel.load()


def run_of(count: int, shape: tuple[int, ...]) -> SamplingRun:
    return SamplingRun(count, shape, torch.linspace(1, 0, 21), torch.device("cpu"), "SD3", SEED)


def cosines(size: int) -> torch.Tensor:
    """The orthonormal cosine transform, shape (size, size)."""
    waves, places = torch.arange(size)[:, None], torch.arange(size)
    return (
        torch.cos(math.pi * waves * (places + 0.5) / size) * math.sqrt(2 / size) * torch.where(waves == 0, 0.5**0.5, 1)
    )


def test_times_and_levels_are_inverse() -> None:
    for time in (0.0, 0.2, 0.77, 1.0):
        assert unshifted(float(shifted(time))) == pytest.approx(time)


@pytest.mark.parametrize(
    ("time", "gamma"), [(1.0, 0.0), (0.9, 0.0), (0.85, 1 / 6), (0.75, 0.5), (0.65, 5 / 6), (0.6, 1.0), (0.0, 1.0)]
)
def test_cads_anneals_the_conditioning(time: float, gamma: float) -> None:
    annealed = AnnealedConditions(0.25, seed=0)
    assert annealed.gamma(time) == pytest.approx(gamma)
    embeddings = torch.randn(64, 8, 128, generator=torch.Generator().manual_seed(1)) * 3 + 0.5
    changed = annealed(embeddings, time)
    if gamma == 1:
        assert changed is embeddings
        return
    torch.testing.assert_close(changed.mean((1, 2)), embeddings.mean((1, 2)), rtol=0, atol=1e-4)
    torch.testing.assert_close(changed.std((1, 2)), embeddings.std((1, 2)), rtol=1e-4, atol=0)
    # Both parts are independent, so that what is left of the conditioning shows as a correlation.
    left = math.sqrt(gamma / (gamma + 0.25**2 * (1 - gamma)))
    pairs = torch.stack([changed.flatten(), embeddings.flatten()])
    assert float(torch.corrcoef(pairs)[0, 1]) == pytest.approx(left, abs=0.01)


def test_conditionings_vary_in_the_first_fifth_and_by_half_of_their_values() -> None:
    embeddings = torch.randn(16, 8, 128, generator=torch.Generator().manual_seed(1))
    varied = VariedConditions(2.0, seed=4)
    assert varied(embeddings, 0.8) is embeddings
    changed = varied(embeddings, 0.9)
    assert torch.equal(changed, varied(embeddings, 1.0))
    moved = (changed - embeddings)[changed != embeddings]
    assert len(moved) / embeddings.numel() == pytest.approx(0.5, abs=0.02)
    assert float(moved.abs().max()) < 2 * 1.2 and float(moved.std()) == pytest.approx(2 / math.sqrt(3), rel=0.05)


def test_particles_are_pushed_as_the_equation_says() -> None:
    points = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.zeros_like(points)
    for i, point in enumerate(points):
        others = [j for j in range(5) if j != i]
        distances = sorted(float((point - points[j]).norm()) for j in others)
        width = distances[(len(distances) - 1) // 2] ** 2 / math.log(4)
        for j in others:
            difference = point - points[j]
            expected[i] += 2 * math.exp(-float(difference.square().sum()) / width) / width * difference
    torch.testing.assert_close(repulsion(points), expected)
    pair = repulsion(points[:2])
    torch.testing.assert_close(pair[0], -pair[1])
    assert float(pair[0] @ (points[0] - points[1])) > 0


@pytest.mark.parametrize(("sigma", "moves"), [(1.0, True), (0.7, True), (0.49, False)])
def test_particles_are_pushed_while_noise_is_stronger_than_the_image(sigma: float, moves: bool) -> None:
    noisy = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    denoised = torch.zeros_like(noisy)
    moved = ParticleGuidance()(denoised, SamplingStep(sigma, 0.0, 0.0, noisy, denoised))
    assert torch.equal(moved, denoised) != moves
    assert bool(moved.isfinite().all())
    alone = SamplingStep(sigma, 0.0, 0.0, noisy[:1], denoised[:1])
    assert torch.equal(ParticleGuidance()(denoised[:1], alone), denoised[:1])


def test_entropy_rises_along_its_gradient() -> None:
    points = torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(3).requires_grad_()
    units = points / points.norm(dim=1, keepdim=True)
    kernel = torch.exp(-(units[:, None] - units).square().sum(2) / (2 * 0.7**2))
    kernel.square().sum().log().backward()
    assert points.grad is not None
    ascent = entropy_ascent(points.detach(), 0.7)
    torch.testing.assert_close(ascent / ascent.norm(), -points.grad / points.grad.norm())


def test_an_euler_step_takes_the_latents_uphill_five_times_a_run() -> None:
    run = run_of(3, (2, 4, 4))
    noisy = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    denoised, guidance, acted = torch.zeros_like(noisy), EntropyGuidance(0.1), []
    for _ in range(2):
        guidance.begin(run)
        for number in range(20):
            step = SamplingStep(0.8, 0.6, number / 20, noisy, denoised)
            moved = guidance(denoised, step)
            if moved is not denoised:
                acted.append(number)
                way = ((1 - 0.6 / 0.8) * moved).flatten(1).norm(dim=1)
                torch.testing.assert_close(way, 0.1 * noisy.flatten(1).norm(dim=1))
    assert acted == 2 * [0, 4, 8, 12, 16]
    guidance.begin(run)
    assert torch.equal(guidance(denoised[:1], SamplingStep(0.8, 0.6, 0.0, noisy[:1], denoised[:1])), denoised[:1])


def test_fields_are_low_waves_of_deviation_one() -> None:
    fields = cosine_fields(200, 16, 8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(fields.flatten(1).std(dim=1), torch.ones(200))
    assert float(fields.mean((1, 2)).abs().max()) < 1e-5
    waves = torch.einsum("bhw,uh,vw->buv", fields, cosines(16), cosines(8))
    assert float(waves[:, 4:].abs().max()) < 1e-4 and float(waves[:, :, 4:].abs().max()) < 1e-4
    power = waves.square().mean(0)
    assert 1.5 < float(power[0, 1] / power[0, 2]) < 2.7 and 2.0 < float(power[1, 0] / power[3, 0]) < 4.5


def test_only_the_lowest_periods_are_kept() -> None:
    kept = lowest_periods(16, 12, 2.0)
    assert kept.shape == (16, 7) and float(kept[0, 0]) == 0
    assert float(kept[0, 1]) == pytest.approx(1, abs=1e-3) and float(kept[-1, 0]) == pytest.approx(1, abs=1e-3)
    assert float(kept[0, 2]) == pytest.approx(math.sqrt(0.5)) and float(kept[2, 0]) == pytest.approx(math.sqrt(0.5))
    assert float(kept[0, 4]) < 0.02 and float(kept[8, 0]) < 1e-3


def test_the_first_estimate_is_recomposed() -> None:
    denoised = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 4
    push = CompositionPush(2.0)
    push.begin(run_of(2, (3, 8, 8)))
    first = push(denoised, SamplingStep(1.0, 0.9, 0.0, denoised, denoised))
    assert push(denoised, SamplingStep(0.9, 0.8, 0.1, denoised, denoised)) is denoised
    blurred = CompositionPush(0.0)
    blurred.begin(run_of(2, (3, 8, 8)))
    plain = blurred(denoised, SamplingStep(1.0, 0.9, 0.0, denoised, denoised))
    assert float(plain.mean((2, 3)).abs().max()) < 1e-5
    factor = first / plain
    torch.testing.assert_close(factor[:, :1].expand_as(factor), factor, rtol=1e-3, atol=1e-3)
    assert float(factor.min()) > 0.099 and float(factor.max()) < 1.501
    assert not torch.allclose(factor[0], factor[1], atol=0.1)
    push.begin(run_of(2, (3, 8, 8)))
    assert torch.equal(push(denoised, SamplingStep(1.0, 0.9, 0.0, denoised, denoised)), first)


def test_outside_its_interval_guidance_leaves_the_conditional_estimate() -> None:
    guidance = IntervalGuidance(SigmaInterval(high=0.8))
    guided_estimate, conditional = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert guidance(guided_estimate, SamplingStep(0.9, 0.8, 0.0, conditional, conditional)) is conditional
    assert guidance(guided_estimate, SamplingStep(0.7, 0.6, 0.0, conditional, conditional)) is guided_estimate


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_strength_zero_draws_the_same_images_and_more_draws_others(model: EmbeddedModel, cfg: float) -> None:
    row = Row("", cfg)
    plain = in_one_batch(model, row, PROMPT, SEED, 2, STEPS)
    ways = [
        lambda strength: conditioned(lambda seed: VariedConditions(strength, seed)),
        lambda strength: guided(lambda: ParticleGuidance(strength)),
        lambda strength: guided(lambda: EntropyGuidance(strength)),
    ]
    for way in ways:
        torch.testing.assert_close(way(0.0)(model, row, PROMPT, SEED, 2, STEPS), plain)
        assert not torch.allclose(way(100.0)(model, row, PROMPT, SEED, 2, STEPS), plain, atol=1e-2)
    other = conditioned(lambda seed: AnnealedConditions(1.0, seed))(model, row, PROMPT, SEED, 2, STEPS)
    assert not torch.allclose(other, plain, atol=1e-2)
