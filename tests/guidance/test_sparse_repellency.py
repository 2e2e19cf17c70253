"""Sparse Repellency over a run: when it acts, what it promises of the result, and what it tells about it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from diversity_guidance.guidance.base import DenoiseMask
from diversity_guidance.guidance.limits import NormClip, SigmaInterval
from diversity_guidance.guidance.references import ImageReferences, References
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.repellency.shields import Radii, Shields
from diversity_guidance.kernels.repellency import batch_repellency, repellency
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from torch import Tensor

from .conftest import Driver, noise

UNCLIPPED = NormClip(math.inf, math.inf)
PLAIN = RepellencySettings(absolute_radius=15.0, norm_clip=UNCLIPPED, cfg_easing=0.0, in_batch=False)


def started(driver: Driver, settings: RepellencySettings, *sources: ImageReferences) -> SparseRepellency:
    guidance = SparseRepellency(settings, sources)
    driver.begin(guidance)
    return guidance


def nearest(latents: Tensor, references: Tensor) -> Tensor:
    return (latents.double().flatten(1)[:, None] - references.double().flatten(1)).norm(dim=2).min(1).values


def spread(latents: Tensor) -> float:
    """Smallest distance between two members of a batch."""
    apart = (latents.double().flatten(1)[:, None] - latents.double().flatten(1)).norm(dim=2)
    return float(apart.fill_diagonal_(math.inf).min())


class TestNothingToDo:
    """The very same tensor returns, so that an image is bit-identical to the unpatched one."""

    @pytest.mark.parametrize(
        "settings",
        [
            RepellencySettings(strength=0.0, absolute_radius=1e6, ensure_outside=True),
            RepellencySettings(radius=0.0, ensure_outside=True),
            RepellencySettings(absolute_radius=1e-3),
            RepellencySettings(absolute_radius=1e-3, overlap="outside", ensure_outside=True),
        ],
        ids=["strength 0", "radius 0", "nobody inside", "nobody inside, outside"],
    )
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_settings(self, driver: Driver, settings: RepellencySettings, dtype: torch.dtype) -> None:
        denoised = noise(0, 3, dtype=dtype)
        guidance = started(driver, settings, ImageReferences(noise(1, 5)))
        assert guidance(denoised, driver.step(denoised)) is denoised
        assert guidance.finish(denoised) is denoised
        assert guidance.trace.finished

    def test_empty_bank_and_one_image(self, driver: Driver) -> None:
        denoised = noise(0, 1)
        guidance = started(
            replace(driver, batch=1), RepellencySettings(absolute_radius=1e6), ImageReferences(noise(1, 0))
        )
        assert guidance(denoised, driver.step(denoised)) is denoised
        assert guidance.finish(denoised) is denoised
        assert guidance.trace.steps == []
        assert "a batch of one has nothing to keep away from" in guidance.trace.summary()

    def test_empty_bank_without_the_batch(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        guidance = started(driver, RepellencySettings(absolute_radius=1e6, in_batch=False, ensure_outside=True))
        assert guidance(denoised, driver.step(denoised)) is denoised
        assert guidance.finish(denoised) is denoised

    @pytest.mark.parametrize("sigma", [0.9, 0.29])
    def test_outside_the_interval(self, driver: Driver, sigma: float) -> None:
        denoised = noise(0, 3)
        settings = replace(PLAIN, interval=SigmaInterval(0.8, 0.3))
        guidance = started(driver, settings, ImageReferences(denoised + 0.1))
        assert guidance(denoised, driver.step(denoised, sigma)) is denoised
        assert guidance(denoised, driver.step(denoised, 0.8)) is not denoised
        assert guidance(denoised, driver.step(denoised, 0.3)) is not denoised
        assert len(guidance.trace.steps) == 2

    def test_a_source_of_another_format_is_not_even_asked_when_off(self, driver: Driver) -> None:
        started(driver, RepellencySettings(strength=0.0), ImageReferences(noise(0, 2), "SDXL"))


class TestPush:
    """One evaluation: the equations with strength, half of every in-batch push, mask, map and norm clip."""

    @pytest.mark.parametrize("strength", [0.5, 1.0, 1.6])
    def test_equations(self, driver: Driver, strength: float) -> None:
        denoised, images = noise(0, 3), noise(1, 5)
        settings = replace(PLAIN, strength=strength, in_batch=True, absolute_radius=24.0)
        guidance = started(driver, settings, ImageReferences(images[:2]), ImageReferences(images[2:].half()))
        references = torch.cat([images[:2], images[2:].half().float()])
        expected = repellency(denoised, references, 24.0) + 0.5 * batch_repellency(denoised, 24.0)
        moved = guidance(denoised, driver.step(denoised))
        torch.testing.assert_close(moved, denoised + strength * expected, rtol=1e-4, atol=1e-4)

    def test_a_pair_in_a_batch_ends_at_the_radius(self, driver: Driver) -> None:
        first = noise(0, 1)
        denoised = torch.cat([first, first + 0.01 * noise(1, 1)])
        guidance = started(replace(driver, batch=2), replace(PLAIN, in_batch=True, absolute_radius=9.0))
        assert spread(guidance(denoised, driver.step(denoised))) == pytest.approx(9.0, rel=1e-4)

    def test_references_go_through_the_map_to_the_models_space(self, driver: Driver) -> None:
        driver = replace(driver, to_model_space=lambda raw: (raw - 0.3) * 1.5)
        denoised, images = noise(0, 3), noise(1, 5)
        guidance = started(driver, replace(PLAIN, absolute_radius=30.0), ImageReferences(images))
        expected = denoised + repellency(denoised, (images - 0.3) * 1.5, 30.0)
        torch.testing.assert_close(guidance(denoised, driver.step(denoised)), expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("measure", ["conditional", "guided"])
    def test_distances_are_taken_on_one_estimate_and_the_other_moves(self, driver: Driver, measure: str) -> None:
        conditional, images = noise(0, 3), noise(1, 5)
        guided = conditional + 3 * noise(2, 3)
        guidance = started(driver, replace(PLAIN, measure=measure, absolute_radius=40.0), ImageReferences(images))
        measured = conditional if measure == "conditional" else guided
        expected = guided + repellency(measured, images, 40.0)
        moved = guidance(guided, driver.step(guided, conditional=conditional))
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)
        assert [record.nearest for record in guidance.trace.steps[0].samples] == pytest.approx(
            nearest(measured, images).tolist(), rel=1e-5
        )

    def test_cfg_easing_goes_towards_the_conditional_estimate_by_depth(self, driver: Driver) -> None:
        conditional = noise(0, 3)
        guided = conditional + 3 * noise(2, 3)
        images = conditional.clone()
        images[0] += 10 * torch.nn.functional.normalize(noise(3, 1).flatten(), dim=0).view(shape_of(conditional))
        images[1:] += 100
        settings = replace(PLAIN, strength=1e-9, cfg_easing=1.0, absolute_radius=20.0)
        guidance = started(driver, settings, ImageReferences(images))
        moved = guidance(guided, driver.step(guided, conditional=conditional))
        torch.testing.assert_close(moved[0], (guided[0] + conditional[0]) / 2, rtol=1e-4, atol=1e-4)
        assert torch.equal(moved[1:], guided[1:])
        share = float((moved - guided)[0].norm() / guided[0].norm())
        assert f"by {share:.1%} of the estimate on average (CFG easing alone: {share:.1%};" in guidance.trace.summary()

    def test_cfg_easing_goes_by_the_deepest_shield_of_references_and_batch(self, driver: Driver) -> None:
        way = torch.nn.functional.normalize(noise(3, 1).flatten(), dim=0).view(1, *driver.shape)
        conditional = torch.cat([noise(0, 1), noise(0, 1) + 16 * way, noise(4, 1) + 100])
        guided = conditional + 3 * noise(2, 3)
        settings = replace(PLAIN, strength=1e-9, cfg_easing=1.0, absolute_radius=20.0, in_batch=True)
        guidance = started(driver, settings, ImageReferences(conditional[:1] - 10 * way))
        moved = guidance(guided, driver.step(guided, conditional=conditional))
        # Image 0 has the reference at half the radius and image 1 at four fifths; image 1 has image 0 alone.
        depth = torch.tensor([0.5, 0.2, 0.0]).view(3, 1, 1, 1)
        torch.testing.assert_close(moved, torch.lerp(guided, conditional, depth), rtol=1e-4, atol=1e-4)

    def test_by_default_easing_reaches_the_conditional_estimate_half_way_in_and_never_goes_beyond(
        self, driver: Driver
    ) -> None:
        conditional = noise(0, 3)
        guided = conditional + 3 * noise(2, 3)
        way = torch.nn.functional.normalize(noise(3, 1).flatten(), dim=0).view(shape_of(conditional))
        images = conditional + torch.tensor([16.0, 5.0, 0.0]).view(3, 1, 1, 1) * way
        assert RepellencySettings().cfg_easing == 2
        settings = RepellencySettings(strength=1e-9, absolute_radius=20.0, in_batch=False, norm_clip=UNCLIPPED)
        moved = started(driver, settings, ImageReferences(images))(guided, driver.step(guided, conditional=conditional))
        torch.testing.assert_close(moved[0], guided[0] + 0.4 * (conditional - guided)[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(moved[1:], conditional[1:], rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize("overlap", ["sum", "outside"])
    def test_dtype_of_the_estimate(self, driver: Driver, dtype: torch.dtype, overlap: str) -> None:
        denoised = noise(0, 3)
        settings = replace(PLAIN, overlap=overlap)
        images = ImageReferences(denoised + 0.3 * noise(1, 3))
        expected = started(driver, settings, images)(denoised, driver.step(denoised))
        half = denoised.to(dtype)
        moved = started(driver, settings, images)(half, driver.step(half))
        assert moved.dtype == dtype
        torch.testing.assert_close(moved.float(), expected, rtol=0.05, atol=0.05)

    def test_clear_leaves_overlapping_shields(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        images = denoised[:1] + 0.5 * noise(1, 6)
        settings = replace(PLAIN, overlap="outside")
        moved = started(driver, settings, ImageReferences(images))(denoised, driver.step(denoised))
        assert float(nearest(moved, images).min()) >= 15 * (1 - 1e-5)

    @pytest.mark.parametrize(
        "norm_clip",
        [
            NormClip(update=0.01, estimate=math.inf),
            NormClip(update=math.inf, estimate=0.05),
            NormClip(update=0.01, estimate=1.0),
        ],
    )
    def test_the_norm_clip_bites_and_says_so(self, driver: Driver, norm_clip: NormClip) -> None:
        denoised = noise(0, 3)
        far = torch.cat([denoised[:2] + 0.1, denoised[2:] + 100])
        # The strength does not get past the clip.
        guidance = started(driver, replace(PLAIN, norm_clip=norm_clip, strength=2.0), ImageReferences(far))
        step = driver.step(denoised)
        moved = (guidance(denoised, step) - denoised).flatten(1).norm(dim=1)
        update, estimate = (step.noisy - denoised).flatten(1).norm(dim=1), denoised.flatten(1).norm(dim=1)
        limit = torch.minimum(norm_clip.update * update, norm_clip.estimate * estimate)
        torch.testing.assert_close(moved[:2], limit[:2], rtol=1e-3, atol=0)
        assert [record.clipped for record in guidance.trace.steps[0].samples] == [True, True, False]
        assert "of the estimate on average. The norm clip shortened 2 of 2 pushes." in guidance.trace.summary()

    def test_a_fraction_of_the_typical_distance(self, driver: Driver) -> None:
        denoised, typical = noise(0, 3), math.sqrt(2 * math.prod(driver.shape))
        guidance = started(driver, RepellencySettings(radius=0.25), ImageReferences(3 * noise(1, 40)))
        guidance(denoised, driver.step(denoised))
        assert guidance.trace.steps[0].radius == pytest.approx(0.25 * 3 * typical, rel=0.03)
        guidance = started(driver, RepellencySettings(radius=0.25))
        guidance(denoised, driver.step(denoised))
        assert guidance.trace.steps[0].radius == pytest.approx(0.25 * typical, rel=0.1)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    @pytest.mark.parametrize("overlap", ["sum", "outside"])
    def test_an_estimate_that_is_not_finite_spoils_no_other(self, driver: Driver, bad: float, overlap: str) -> None:
        denoised = noise(0, 3)
        settings = replace(PLAIN, in_batch=True, overlap=overlap, absolute_radius=24.0, ensure_outside=True)
        broken = denoised.clone()
        broken[1, 0, 0, 0] = bad
        guidance = started(driver, settings, ImageReferences(noise(1, 4)))
        assert guidance(broken, driver.step(broken))[[0, 2]].isfinite().all()
        assert guidance.finish(broken)[[0, 2]].isfinite().all()

    def test_inputs_are_never_written_to_and_runs_repeat(self, driver: Driver) -> None:
        denoised, images = noise(0, 3), noise(1, 4)
        denoised[1] = denoised[0]
        before = denoised.clone(), images.clone()
        settings = replace(PLAIN, in_batch=True, absolute_radius=24.0, ensure_outside=True)
        guidance = started(driver, settings, ImageReferences(images))
        first = guidance(denoised, driver.step(denoised)), guidance.finish(denoised)
        driver.begin(guidance)
        assert guidance.trace.steps == []
        with torch.inference_mode():
            second = guidance(denoised, driver.step(denoised)), guidance.finish(denoised)
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
        assert torch.equal(denoised, before[0]) and torch.equal(images, before[1])

    def test_before_a_run(self, driver: Driver) -> None:
        with pytest.raises(RuntimeError, match="must begin a run"):
            SparseRepellency()(noise(0, 3), driver.step(noise(0, 3)))


def shape_of(latents: Tensor) -> tuple[int, ...]:
    return tuple(latents.shape[1:])


MASKS = {
    "none": None,
    "one for all": torch.cat([torch.zeros(1, 1, 4, 8), torch.ones(1, 1, 4, 8)], dim=2),
    "channels": torch.cat([torch.zeros(1, 4, 4, 8), torch.ones(1, 4, 4, 8)], dim=2),
    "one each": torch.cat([torch.zeros(3, 1, 4, 8), torch.ones(3, 1, 4, 8)], dim=2),
    "without a batch": torch.cat([torch.zeros(1, 4, 8), torch.ones(1, 4, 8)], dim=1),
    "plane": torch.cat([torch.zeros(4, 8), torch.ones(4, 8)]),
    "half precision": torch.cat([torch.zeros(1, 1, 4, 8), torch.ones(1, 1, 4, 8)], dim=2).half(),
}


def test_depth_among_points_is_relative_to_the_radius_of_each_pair() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
    radii = Radii(torch.zeros(3), torch.tensor([[0.0, 2.0, 4.0], [2.0, 0.0, 5.0], [4.0, 5.0, 0.0]]))
    shields = Shields(points, radii, References((), (), lambda chunk: chunk, torch.empty(0), 0.0))
    assert shields.depth().tolist() == pytest.approx([1 - 1 / 2, 1 - 2 / 5, 1 - 2 / 5])
    others = torch.tensor([True, False, True])
    assert shields.depth(others).tolist() == pytest.approx([1 - 3 / 4, 1 - 2 / 5, 1 - 3 / 4])


def test_the_radius_of_a_pair_follows_what_both_may_change() -> None:
    mask = DenoiseMask(torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]), uniform=False)
    radii = Radii.for_batch(8.0, 3, mask, relative=True, in_batch=True)
    common = torch.tensor([[2, 1, 2], [1, 2, 2], [2, 2, 4]]) / 4
    assert radii.pairs is not None
    torch.testing.assert_close(radii.pairs, 8 * common.sqrt())
    torch.testing.assert_close(radii.fixed, 8 * common.diag().sqrt())


class TestMask:
    """An inpainting mask: what is held is neither compared nor moved."""

    @pytest.mark.parametrize("name", [name for name in MASKS if name != "none"])
    @pytest.mark.parametrize("overlap", ["sum", "outside"])
    @pytest.mark.parametrize("cfg_easing", [0.0, 1.0])
    def test_only_what_may_change_moves(self, driver: Driver, name: str, overlap: str, cfg_easing: float) -> None:
        guided = noise(0, 3)
        guided[1] = guided[0]
        conditional = 0.5 * guided + noise(2, 3)
        settings = replace(PLAIN, overlap=overlap, in_batch=True, cfg_easing=cfg_easing)
        images = torch.cat([conditional[:1] + 0.2 * noise(1, 1), conditional[2:]])
        guidance = started(driver, settings, ImageReferences(images))
        moved = guidance(guided, driver.step(guided, conditional=conditional, mask=MASKS[name]))
        assert torch.equal(moved[:, :, :4], guided[:, :, :4])
        assert not torch.equal(moved[:, :, 4:], guided[:, :, 4:])
        expected = nearest(conditional[:, :, 4:], images[:, :, 4:])
        found = [contact.distance for contact in guidance.trace.steps[0].samples[0].contacts]
        assert min(found) == pytest.approx(float(expected[0]), rel=1e-3)

    def test_a_mask_that_holds_everything(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        for overlap in ("sum", "outside"):
            settings = replace(PLAIN, overlap=overlap, in_batch=True, ensure_outside=True)
            guidance = started(driver, settings, ImageReferences(denoised))
            assert guidance(denoised, driver.step(denoised, mask=torch.zeros(1, 1, 8, 8))) is denoised
            assert guidance.finish(denoised) is denoised
            assert "Nothing is guaranteed for images 0, 1 and 2, where a mask lets nothing" in guidance.trace.summary()

    def test_the_fraction_of_the_typical_distance_is_of_what_may_change(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        guidance = started(driver, RepellencySettings(radius=0.25), ImageReferences(noise(1, 40)))
        guidance(denoised, driver.step(denoised, mask=MASKS["one for all"]))
        assert guidance.trace.steps[0].radius == pytest.approx(0.25 * math.sqrt(math.prod(driver.shape)), rel=0.03)

    def test_a_mask_per_step_is_followed(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        guidance = started(driver, PLAIN, ImageReferences(denoised + 0.1))
        mask = MASKS["one for all"]
        guidance(denoised, driver.step(denoised, mask=mask))
        moved = guidance(denoised, driver.step(denoised, mask=1 - mask))
        assert torch.equal(moved[:, :, 4:], denoised[:, :, 4:])
        assert not torch.equal(moved[:, :, :4], denoised[:, :, :4])


HALVES = torch.stack([torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
HALVES[0, :, :4] = 1
HALVES[1, :, 4:] = 0.4
"""The upper half of the first image, the lower half of the second softly, all of the third."""


class TestMasksOfTheirOwn:
    """Each sample counts by its own mask, wherever it is above 0; what may change nowhere is promised nothing."""

    def test_a_soft_mask_counts_as_a_whole(self, driver: Driver) -> None:
        samples = noise(0, 3)
        settings = RepellencySettings(radius=0.3, in_batch=False, ensure_outside=True)
        whole = started(driver, settings, ImageReferences(samples.clone()))
        soft = started(driver, settings, ImageReferences(samples.clone()))
        expected = whole(samples, driver.step(samples)), whole.finish(samples)
        found = soft(samples, driver.step(samples, mask=torch.full((1, 1, 8, 8), 0.4))), soft.finish(samples)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        radius = 0.3 * math.sqrt(2 * 256)
        assert soft.trace.steps[0].radius == pytest.approx(radius, rel=0.1)
        assert float(nearest(found[1], samples).min()) >= soft.trace.steps[0].radius

    def test_each_sample_by_its_own(self, driver: Driver) -> None:
        samples = noise(0, 3)
        settings = RepellencySettings(radius=0.3, in_batch=False, ensure_outside=True, cfg_easing=0.0)
        guidance = started(driver, settings, ImageReferences(samples + 0.01 * noise(1, 3)))
        step = driver.step(samples, mask=HALVES)
        moved, final = guidance(samples, step), guidance.finish(samples)
        full = guidance.trace.steps[0].radius
        assert full == pytest.approx(0.3 * math.sqrt(2 * 256), rel=0.1)
        for row, (part, held) in enumerate(((slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4)))):
            for result in (moved, final):
                assert torch.equal(result[row, :, held], samples[row, :, held])
            apart = nearest(final[row : row + 1, :, part], samples[:, :, part] + 0.01 * noise(1, 3)[:, :, part])
            assert full * math.sqrt(0.5) <= float(apart) * (1 + 1e-6)
            assert float(apart) < full
            assert guidance.trace.final_nearest[row] == pytest.approx(float(apart), rel=1e-4)
        assert float(nearest(final[2:], samples + 0.01 * noise(1, 3))) >= full

    def test_members_are_compared_where_both_may_change(self, driver: Driver) -> None:
        samples = noise(0, 1).repeat(3, 1, 1, 1)
        guidance = started(driver, RepellencySettings(radius=0.3, ensure_outside=True))
        guidance(samples, driver.step(samples, mask=HALVES))
        final = guidance.finish(samples)
        full = guidance.trace.steps[0].radius
        for row, part in ((0, slice(0, 4)), (1, slice(4, 8))):
            apart = (final[row, :, part] - final[2, :, part]).norm()
            assert float(apart) >= full * math.sqrt(0.5) * (1 - 1e-6)
        assert "Images 0 and 1 were not kept apart: their masks share nothing that may change." in (
            guidance.trace.summary()
        )
        assert guidance.trace.violations == []

    def test_an_absolute_radius_is_the_same_for_all(self, driver: Driver) -> None:
        samples = noise(0, 3)
        guidance = started(driver, replace(PLAIN, ensure_outside=True), ImageReferences(samples.clone()))
        guidance(samples, driver.step(samples, mask=HALVES))
        final = guidance.finish(samples)
        parts = (slice(0, 4), slice(4, 8), slice(0, 8))
        apart = [nearest(final[row : row + 1, :, part], samples[:, :, part]) for row, part in enumerate(parts)]
        assert all(float(distance) >= 15 for distance in apart)

    def test_one_that_is_held_is_named_and_the_others_are_kept_outside(self, driver: Driver) -> None:
        samples = noise(0, 3)
        mask = torch.ones(3, 1, 8, 8)
        mask[1] = 0
        guidance = started(driver, replace(PLAIN, ensure_outside=True, in_batch=True), ImageReferences(samples.clone()))
        guidance(samples, driver.step(samples, mask=mask))
        final = guidance.finish(samples)
        assert torch.equal(final[1], samples[1])
        assert guidance.trace.steps[0].samples[1].nearest == math.inf
        assert float(nearest(final[[0, 2]], samples).min()) >= 15
        assert "Nothing is guaranteed for image 1, where a mask lets nothing change." in guidance.trace.notes
        assert guidance.trace.final_nearest[1] == math.inf

    def test_of_masks_that_change_by_step_all_that_ever_may_change_counts(self, driver: Driver) -> None:
        samples = noise(0, 3)
        upper = MASKS["one for all"]
        guidance = started(driver, replace(PLAIN, ensure_outside=True), ImageReferences(samples.clone()))
        for mask in (upper, torch.maximum(upper, 0.2 * (1 - upper)), upper):
            guidance(samples, driver.step(samples, mask=mask))
        final = guidance.finish(samples)
        assert float(nearest(final, samples).min()) >= 15
        assert not torch.equal(final[:, :, :4], samples[:, :, :4])


class TestEnsureOutside:
    """The final latents are outside every shield, in their own dtype, whatever happened on the way."""

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("overlap", ["sum", "outside"])
    @pytest.mark.parametrize("mask", list(MASKS))
    @pytest.mark.parametrize("active", [True, False])
    def test_outside(self, driver: Driver, dtype: torch.dtype, overlap: str, mask: str, active: bool) -> None:
        interval = SigmaInterval() if active else SigmaInterval(high=0.1)
        settings = replace(PLAIN, overlap=overlap, in_batch=True, ensure_outside=True, interval=interval)
        samples = noise(0, 3, dtype=dtype)
        samples[1] = samples[0]
        images = torch.cat([samples[2:] + 0.2 * noise(1, 1), samples[2:] - 0.2 * noise(2, 1), samples[:1]]).half()
        guidance = started(driver, settings, ImageReferences(images))
        guidance(samples, driver.step(samples, mask=MASKS[mask]))
        final = guidance.finish(samples)
        assert final.dtype == dtype and final.shape == samples.shape
        compared = final[:, :, 4:], images[:, :, 4:]
        if mask == "none":
            compared = final, images
        else:
            assert torch.equal(final[:, :, :4], samples[:, :, :4])
        assert float(nearest(*compared).min()) >= 15
        assert spread(compared[0]) >= 15
        assert guidance.trace.violations == []
        assert "3 of 3 final images were moved out of shields." in guidance.trace.notes
        measured = torch.minimum(nearest(*compared), torch.tensor(math.inf))
        for told, distance in zip(guidance.trace.final_nearest, measured.tolist(), strict=True):
            assert told <= distance * (1 + 1e-5)

    @pytest.mark.parametrize("shape", [(16, 3, 4, 4), (4, 64), (1, 1, 1)])
    def test_any_shape_of_latents(self, shape: tuple[int, ...]) -> None:
        driver = Driver(batch=3, shape=shape)
        samples = noise(0, 3, shape)
        images = torch.cat([samples + 0.1, samples - 0.1])
        settings = replace(PLAIN, in_batch=True, ensure_outside=True, absolute_radius=4.0)
        guidance = started(driver, settings, ImageReferences(images))
        moved = guidance(samples, driver.step(samples))
        assert moved.shape == samples.shape
        assert not torch.equal(moved, samples)
        final = guidance.finish(samples)
        assert min(float(nearest(final, images).min()), spread(final)) >= 4

    def test_the_last_estimates_have_the_shields_of_the_final_images(self, driver: Driver) -> None:
        samples, estimates = noise(0, 3), 3 * noise(5, 3)
        # Farther apart than the radius of the final images, nearer than one measured from these estimates.
        estimates[1] = estimates[0] + 0.5 * noise(6, 1)[0]
        guidance = started(driver, RepellencySettings(radius=0.3, ensure_outside=True))
        guidance(samples, driver.step(samples))
        guidance.finish(samples)
        assert guidance.corrected(estimates) is estimates

    def test_without_the_promise_only_distances_are_told(self, driver: Driver) -> None:
        samples, images = noise(0, 3), noise(1, 4)
        guidance = started(driver, PLAIN, ImageReferences(images))
        assert guidance.finish(samples) is samples
        assert guidance.trace.final_nearest == pytest.approx(nearest(samples, images).tolist(), rel=1e-5)


class TestTrace:
    """Who was pushed, when, how hard and from whom."""

    def test_contents(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        images = torch.cat([noise(1, 4) + 100, denoised[:1] + 0.1, denoised[:1] + 0.2])
        guidance = started(driver, replace(PLAIN, in_batch=True), ImageReferences(images, name="exemplar"))
        moved = guidance(denoised, driver.step(denoised, 0.75))
        (step,) = guidance.trace.steps
        assert (step.method, step.sigma, step.progress, step.radius) == ("Sparse Repellency", 0.75, 0.25, 15.0)
        first, *others = step.samples
        assert [contact.reference for contact in first.contacts] == ["exemplar:4", "exemplar:5"]
        assert first.nearest == pytest.approx(0.1 * 16, rel=1e-4)
        share = (moved - denoised)[0].norm() / denoised[0].norm()
        assert first.correction == pytest.approx(float(share), rel=1e-4)
        assert all(record.correction == 0 and record.contacts == () for record in others)
        assert step.active_share == pytest.approx(1 / 3)
        assert guidance.trace.contacts_of(0)[0].reference == "exemplar:4"
        assert guidance.trace.summary().startswith("Moved 1 of 3 images in 1 of 1 active steps, by ")

    def test_members_of_the_batch_have_names_too(self, driver: Driver) -> None:
        denoised = noise(0, 1).repeat(3, 1, 1, 1) + 0.1 * noise(1, 3)
        guidance = started(driver, replace(PLAIN, in_batch=True))
        guidance(denoised, driver.step(denoised))
        names = {contact.reference for contact in guidance.trace.contacts_of(1)}
        assert names == {"batch:0", "batch:2"}

    def test_the_nearest_few_contacts_are_kept(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        scale = torch.arange(1, 10).view(-1, 1, 1, 1) / 20
        guidance = started(driver, PLAIN, ImageReferences((denoised[:1] + scale).flip(0)))
        guidance(denoised, driver.step(denoised))
        record = guidance.trace.steps[0].samples[0]
        assert [contact.reference for contact in record.contacts] == [f"image:{8 - index}" for index in range(4)]

    def test_references_of_another_size_are_left_out_and_counted(self, driver: Driver) -> None:
        denoised = noise(0, 3)
        other = ImageReferences(noise(1, 5, (4, 8, 12)))
        guidance = started(driver, PLAIN, other, ImageReferences(denoised + 0.1))
        assert guidance(denoised, driver.step(denoised)) is not denoised
        assert "5 references of another image size were left out." in guidance.trace.summary()
        single = started(driver, PLAIN, ImageReferences(noise(1, 1, (4, 8, 12))))
        assert single.trace.notes == ["1 reference of another image size was left out."]

    @pytest.mark.parametrize(
        ("seeds", "told"),
        [
            ([7, None, 8, 9], ["1 reference has this run's seed: another seed varies more."]),
            ([7, 7, 8, None], ["2 references have this run's seed: another seed varies more."]),
            ([8, None, 9, 9], []),
        ],
    )
    def test_references_of_the_run_s_own_seed_are_told(
        self, driver: Driver, seeds: list[int | None], told: list[str]
    ) -> None:
        bank = BankSnapshot.empty().extended(noise(1, 4), latent_format="SD3", seeds=seeds)
        assert started(driver, PLAIN, bank).trace.notes == told

    def test_another_latent_format_is_refused(self, driver: Driver) -> None:
        with pytest.raises(ValueError, match="latents of SDXL with 4 channels and this model works on SD3"):
            started(driver, PLAIN, ImageReferences(noise(1, 5), "SDXL"))
        with pytest.raises(ValueError, match="latents of another model with 16 channels"):
            started(driver, PLAIN, ImageReferences(noise(1, 5, (16, 8, 8))))


class TestSettings:
    """Numbers that are none are refused with a sentence."""

    @pytest.mark.parametrize("name", ["radius", "strength", "absolute_radius", "cfg_easing"])
    @pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
    def test_numbers(self, name: str, value: float) -> None:
        with pytest.raises(ValueError, match=f"{name} must be a number of at least 0"):
            RepellencySettings(**{name: value})

    @pytest.mark.parametrize("name", ["measure", "overlap"])
    def test_words(self, name: str) -> None:
        with pytest.raises(ValueError, match="guess"):
            RepellencySettings(**{name: "guess"})
