"""Protected Indexes beside the other references: found exactly, told by name, and guaranteed at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diversity_guidance.guidance.latent_map import LatentMap
from diversity_guidance.guidance.limits import NormClip, SigmaInterval
from diversity_guidance.guidance.references import ImageReferences
from diversity_guidance.guidance.repellency import protection
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.repellency.protected_search import images_inside
from diversity_guidance.kernels.repellency import distances
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.spaces import feature_space, latent_space
from support.indexes import built
from torch import Tensor

from .conftest import SHAPE, Driver, noise

UNCLIPPED = NormClip(math.inf, math.inf)
PLAIN = RepellencySettings(absolute_radius=15.0, norm_clip=UNCLIPPED, cfg_easing=0.0, in_batch=False)
STD = torch.tensor([0.5, 2.0, 3.0, 1.0]).view(-1, 1, 1)
MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda raw: raw,
    "one scale": lambda raw: (raw - 0.06) * 1.5,
    "a scale for each channel": lambda raw: (raw - 0.1) / STD,
    "mixed": lambda raw: raw.flip(2),
}

MakeIndex = Callable[..., ProtectedIndex]


@pytest.fixture
def index_of(tmp_path: Path) -> MakeIndex:
    """Makes an index of raw latents (N, C, ...)."""

    def make(latents: Tensor, space: str = latent_space("SD3"), names: Sequence[str] | None = None) -> ProtectedIndex:
        return built(tmp_path / f"index {len(list(tmp_path.iterdir()))}", latents, space, names)

    return make


def guarded(driver: Driver, settings: RepellencySettings, *indexes: ProtectedIndex) -> SparseRepellency:
    guidance = SparseRepellency(settings, (), indexes)
    driver.begin(guidance)
    return guidance


def nearest(latents: Tensor, references: Tensor) -> Tensor:
    return (latents.double().flatten(1)[:, None] - references.double().flatten(1)).norm(dim=2).min(1).values


class EveryStep:
    """Asks the index in every step, as a neighbour list may not."""

    def __init__(self, index: ProtectedIndex) -> None:
        self.within = index.within
        self.searched = self.skipped = 0


class TestSameAsReferences:
    """An index pushes as the same images do that are given directly, in every latent format and under a mask."""

    @pytest.mark.parametrize("space", MAPS)
    @pytest.mark.parametrize("overlap", ["sum", "outside"])
    @pytest.mark.parametrize("masked", [False, True])
    def test_same(self, driver: Driver, index_of: MakeIndex, space: str, overlap: str, masked: bool) -> None:
        driver = replace(driver, to_model_space=MAPS[space])
        denoised, images = noise(0, 3), noise(1, 40).half()
        images[5] = denoised[1].half()
        settings = replace(PLAIN, overlap=overlap, absolute_radius=24.0, in_batch=True)
        given = SparseRepellency(settings, [ImageReferences(images)])
        driver.begin(given)
        mask = torch.cat([torch.zeros(1, 1, 4, 8), torch.ones(1, 1, 4, 8)], dim=2) if masked else None
        step = driver.step(denoised, mask=mask)
        guidance = guarded(driver, settings, index_of(images[:25]), index_of(images[25:]))
        moved, expected = guidance(denoised, step), given(denoised, step)
        if overlap == "sum":
            torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)
        elif not masked:
            # There are many ways out, and the order in which shields are met decides.
            assert float(nearest(moved, MAPS[space](images.float())).min()) >= 24 * (1 - 1e-5)
        assert not torch.equal(moved, denoised)
        counts = [len(record.contacts) for record in given.trace.steps[0].samples]
        assert [len(record.contacts) for record in guidance.trace.steps[0].samples] == counts
        reads_all = masked or space == "mixed"
        assert ("exact but slow" in guidance.trace.summary()) == reads_all

    @pytest.mark.parametrize("space", ["one scale", "a scale for each channel"])
    def test_a_neighbour_list_changes_nothing(
        self, driver: Driver, index_of: MakeIndex, monkeypatch: pytest.MonkeyPatch, space: str
    ) -> None:
        """A whole run with it, and one in which every step asks the index."""
        driver = replace(driver, to_model_space=MAPS[space])
        images, start, end = noise(1, 40).half(), noise(0, 3), noise(2, 3)
        index, settings = index_of(images), replace(PLAIN, absolute_radius=24.0, ensure_outside=True)
        results = []
        for search in (protection.NeighbourList, EveryStep):
            monkeypatch.setattr(protection, "NeighbourList", search)
            guidance = guarded(driver, settings, index)
            steps = [torch.lerp(start, end, step / 12) for step in range(13)]
            moved = [guidance(denoised, driver.step(denoised)) for denoised in steps]
            results.append((torch.stack([*moved, guidance.finish(moved[-1])]), guidance.trace))
        (listed, trace), (asked, same) = results
        assert torch.equal(listed, asked) and not torch.equal(listed[:-1], torch.stack(steps))
        assert [step.samples for step in trace.steps] == [step.samples for step in same.steps]
        assert trace.final_nearest == same.final_nearest and trace.records[0].spared > 0

    def test_that_everything_is_compared_is_told_once(self, driver: Driver, index_of: MakeIndex) -> None:
        denoised = noise(0, 3)
        guidance = guarded(driver, PLAIN, index_of(denoised + 0.1))
        mask = torch.cat([torch.zeros(1, 1, 4, 8), torch.ones(1, 1, 4, 8)], dim=2)
        for one in (mask, 1 - mask, torch.ones(1, 1, 8, 8)):
            moved = guidance(denoised, driver.step(denoised, mask=one))
            assert torch.equal(moved == denoised, (one == 0).expand_as(moved))
        assert guidance.trace.summary().count("exact but slow") == 1

    def test_beside_other_sources(self, driver: Driver, index_of: MakeIndex) -> None:
        denoised, images = noise(0, 3), noise(1, 9).half()
        settings = replace(PLAIN, absolute_radius=26.0)
        guidance = SparseRepellency(settings, [ImageReferences(images[:4])], [index_of(images[4:])])
        given = SparseRepellency(settings, [ImageReferences(images)])
        for one in (guidance, given):
            driver.begin(one)
        step = driver.step(denoised)
        torch.testing.assert_close(guidance(denoised, step), given(denoised, step), rtol=1e-4, atol=1e-4)

    def test_each_image_is_compared_within_its_own_radius(self, driver: Driver, index_of: MakeIndex) -> None:
        """A target pushes an image that does not count out of wider shields than those that do."""
        denoised = noise(0, 3)
        denoised[1] = denoised[0] + 0.01 * noise(2, 1)[0]
        images = (denoised[1] + 0.8 * noise(1, 9)).half()
        settings = replace(PLAIN, absolute_radius=0.0, in_batch=True, target=3)
        guidance = guarded(driver, settings, index_of(images))
        given = SparseRepellency(settings, [ImageReferences(images)])
        driver.begin(given)
        step = driver.step(denoised)
        torch.testing.assert_close(guidance(denoised, step), given(denoised, step), rtol=1e-4, atol=1e-4)
        contacts = [len(record.contacts) for record in given.trace.steps[0].samples]
        assert [len(record.contacts) for record in guidance.trace.steps[0].samples] == contacts
        assert contacts[1] > contacts[2]

    @pytest.mark.parametrize("space", ["one scale", "a scale for each channel"])
    def test_what_rounding_puts_inside_is_found(self, index_of: MakeIndex, space: str) -> None:
        """A kernel's distance may round to less than the radius where the exact one is more."""
        latent_map = LatentMap.fit(MAPS[space], SHAPE)
        assert latent_map is not None
        images = noise(1, 400).half()
        points, centres = MAPS[space](noise(0, 20)).flatten(1), MAPS[space](images.float()).flatten(1)
        rounded, exact = distances(points, centres).double(), torch.cdist(points.double(), centres.double())
        radii = torch.where(rounded < exact, (rounded + exact) / 2, 0).max(1)
        index, raw = index_of(images), latent_map.to_raw(points)
        for row, (radius, number) in enumerate(zip(*radii, strict=True)):
            found, _ = images_inside(index, latent_map, raw[[row]], float(radius))
            assert int(number) in found

    def test_the_typical_distance_is_measured_from_it(self, driver: Driver, index_of: MakeIndex) -> None:
        denoised, typical = noise(0, 3), math.sqrt(2 * math.prod(SHAPE))
        guidance = guarded(driver, RepellencySettings(radius=0.25), index_of(3 * noise(1, 40)))
        guidance(denoised, driver.step(denoised))
        assert guidance.trace.steps[0].radius == pytest.approx(0.25 * 3 * typical, rel=0.03)


class TestGuarantee:
    """With ensure_outside no final latent is in any shield, whatever is met on the way out."""

    @pytest.mark.parametrize("space", MAPS)
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
    @pytest.mark.parametrize("active", [True, False])
    def test_outside(self, driver: Driver, index_of: MakeIndex, space: str, dtype: torch.dtype, active: bool) -> None:
        driver = replace(driver, to_model_space=MAPS[space])
        around = noise(0, 3)
        # So dense that the way out of one shield leads into others.
        raw = (around.repeat(60, 1, 1, 1) + 0.9 * noise(1, 180)).half()
        samples = MAPS[space](around).to(dtype)
        interval = SigmaInterval() if active else SigmaInterval(high=0.1)
        settings = replace(PLAIN, ensure_outside=True, interval=interval, absolute_radius=14.0)
        guidance = guarded(driver, settings, index_of(raw))
        guidance(samples, driver.step(samples))
        final = guidance.finish(samples)
        assert final.dtype == dtype
        left = nearest(final, MAPS[space](raw.float()))
        assert float(left.min()) >= 14
        assert guidance.trace.violations == []
        (record,) = guidance.trace.records
        assert record.protected == 180 and record.ensured
        assert all(image.outside for image in record.images)
        assert [image.after.distance for image in record.images] == pytest.approx(left.tolist(), rel=1e-3)
        before = nearest(samples, MAPS[space](raw.float()))
        assert [image.before.distance for image in record.images] == pytest.approx(before.tolist(), rel=1e-2)
        assert "Every image is outside every shield" in guidance.trace.summary()

    def test_without_it_the_node_says_so_and_names_the_image(self, driver: Driver, index_of: MakeIndex) -> None:
        samples = noise(0, 3)
        images = noise(1, 5)
        images[3] = samples[2] + 0.1
        index = index_of(images, names=["a.png", "b.png", "c.png", "cats/d.png", "e.png"])
        guidance = guarded(driver, replace(PLAIN, interval=SigmaInterval(high=0.1)), index)
        assert guidance.finish(samples) is samples
        assert guidance.trace.violations == []
        told = guidance.trace.summary()
        assert "NOT outside every shield: image 2 (1.6" in told and "from cats/d.png)" in told
        assert "Nothing guarantees this: ensure_outside is off." in told
        assert guidance.trace.final_nearest == pytest.approx(nearest(samples, images.half()).tolist(), rel=1e-3)

    def test_of_a_mask_that_holds_everything_nothing_is_guaranteed(self, driver: Driver, index_of: MakeIndex) -> None:
        samples = noise(0, 3)
        guidance = guarded(driver, replace(PLAIN, ensure_outside=True), index_of(samples))
        guidance(samples, driver.step(samples, mask=torch.zeros(1, 1, 8, 8)))
        assert guidance.finish(samples) is samples
        told = guidance.trace.summary()
        assert "outside" not in told
        assert "Nothing is guaranteed for images 0, 1 and 2, where a mask lets nothing change." in told
        (record,) = guidance.trace.records
        assert not any(image.outside for image in record.images)

    def test_masks_of_their_own(self, driver: Driver, index_of: MakeIndex) -> None:
        samples = noise(0, 3)
        mask = torch.ones(3, 1, 8, 8)
        mask[0, :, :4], mask[1] = 0, 0
        settings = RepellencySettings(radius=0.3, in_batch=False, ensure_outside=True)
        guidance = guarded(driver, settings, index_of(samples))
        guidance(samples, driver.step(samples, mask=mask))
        final = guidance.finish(samples)
        (record,) = guidance.trace.records
        full, half = record.radius, record.images[0].radius
        assert half == pytest.approx(full * math.sqrt(0.5)) and record.images[1].radius == 0
        assert float(nearest(final[:1, :, 4:], samples.half()[:, :, 4:])) >= half
        assert float(nearest(final[2:], samples.half())) >= full
        assert [image.outside for image in record.images] == [True, False, True]
        told = guidance.trace.summary()
        assert f"radius {half:.3g} to {full:.3g}, as masks let images change" in told
        assert "Every other image is outside every shield" in told
        assert "Nothing is guaranteed for image 1, where a mask lets nothing change." in told

    def test_the_nearest_approach_of_the_whole_run_is_kept(self, driver: Driver, index_of: MakeIndex) -> None:
        images = noise(0, 3).half()
        guidance = guarded(driver, PLAIN, index_of(images))
        for distance in (0.1, 0.5):
            estimates = images.float() + distance
            guidance(estimates, driver.step(estimates))
        guidance.finish(images.float() + 100)
        (record,) = guidance.trace.records
        assert [image.before.distance for image in record.images] == pytest.approx([0.1 * 16] * 3, rel=1e-3)


class TestNothingToDo:
    """The very same tensor returns where no protected image is near, or protection is off."""

    @pytest.mark.parametrize(
        "settings",
        [
            replace(PLAIN, strength=0.0, ensure_outside=True),
            replace(PLAIN, absolute_radius=0.0, radius=0.0, ensure_outside=True),
            replace(PLAIN, absolute_radius=1e-3, ensure_outside=True),
        ],
        ids=["strength 0", "radius 0", "nobody inside"],
    )
    def test_the_same_tensor(self, driver: Driver, index_of: MakeIndex, settings: RepellencySettings) -> None:
        denoised = noise(0, 3)
        guidance = guarded(driver, settings, index_of(noise(1, 20)))
        assert guidance(denoised, driver.step(denoised)) is denoised
        assert guidance.finish(denoised) is denoised

    def test_an_estimate_that_is_no_number_spoils_no_other(self, driver: Driver, index_of: MakeIndex) -> None:
        denoised = noise(0, 3)
        broken = denoised.clone()
        broken[1, 0, 0, 0] = math.nan
        settings = replace(PLAIN, ensure_outside=True, absolute_radius=24.0)
        guidance = guarded(driver, settings, index_of(denoised + 0.1))
        moved = guidance(broken, driver.step(broken))
        assert bool(moved[[0, 2]].isfinite().all()) and not torch.equal(moved[0], denoised[0])
        final = guidance.finish(broken)
        assert float(nearest(final[[0, 2]], (denoised + 0.1).half()).min()) >= 24


class TestRefused:
    """An index that cannot protect is refused: a protection that silently does nothing would be a lie."""

    def test_another_format(self, driver: Driver, index_of: MakeIndex) -> None:
        with pytest.raises(ValueError, match=r"holds SDXL latents, and this model makes SD3 latents"):
            guarded(driver, PLAIN, index_of(noise(1, 5), latent_space("SDXL")))

    def test_features(self, driver: Driver, index_of: MakeIndex) -> None:
        with pytest.raises(ValueError, match="holds features of layout-1, and this model makes"):
            guarded(driver, PLAIN, index_of(noise(1, 5).flatten(1), feature_space("layout-1")))

    def test_another_image_size(self, driver: Driver, index_of: MakeIndex) -> None:
        with pytest.raises(
            ValueError, match="holds latents of 4 x 8 x 12 and this run samples 4 x 8 x 8: nothing would"
        ):
            guarded(driver, PLAIN, index_of(noise(1, 5, (4, 8, 12))))

    def test_not_even_looked_at_when_off(self, driver: Driver, index_of: MakeIndex) -> None:
        guarded(driver, replace(PLAIN, strength=0.0), index_of(noise(1, 5), latent_space("SDXL")))
