"""Vendi Guidance as a host drives it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diversity_guidance.features.encoder import Encoder
from diversity_guidance.guidance.base import Chain, SamplingRun
from diversity_guidance.guidance.limits import NormClip, SigmaInterval
from diversity_guidance.guidance.prompts import EncodedPrompt
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.guidance.vendi.latent_features import LatentFeatures, latent_layout
from diversity_guidance.guidance.vendi.settings import VendiSettings
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from diversity_guidance.stores.exemplar_set import ExemplarSet
from torch import Tensor

from .conftest import SHAPE, Driver, noise

NEAR = 0.2
"""Spread of a batch that is nearly one image."""


def alike(count: int, seed: int = 0) -> Tensor:
    """Images that differ little."""
    return noise(seed, 1).repeat(count, 1, 1, 1) + NEAR * noise(seed + 1, count)


def bank_of(latents: Tensor, prompts: list[str] | None = None, **features: Tensor) -> BankSnapshot:
    named = {name.replace("_", "-"): values for name, values in features.items()}
    return BankSnapshot.empty("b").extended(latents, latent_format="SD3", prompts=prompts, features=named or None)


def exemplars(latents: Tensor) -> ExemplarSet:
    images = torch.rand((len(latents), 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return ExemplarSet.from_images(images).with_latents(list(latents))


def steered(guidance: VendiGuidance, denoised: Tensor, driver: Driver | None = None, **step: object) -> Tensor:
    driver = driver or Driver(batch=len(denoised), shape=tuple(denoised.shape[1:]))
    driver.begin(guidance)
    return guidance(denoised, driver.step(denoised, **step))  # type: ignore[arg-type]


def spread(latents: Tensor) -> float:
    return float(torch.pdist(latents.flatten(1).float()).min())


def test_a_batch_spreads() -> None:
    batch = alike(8)
    moved = steered(VendiGuidance(), batch)
    assert spread(moved) > 1.1 * spread(batch)


def test_two_images_move_apart_and_not_along_the_update() -> None:
    batch = alike(2)
    driver = Driver(batch=2)
    guidance = driver.begin(VendiGuidance(VendiSettings(project=True)))
    step = driver.step(batch)
    delta = (guidance(batch, step) - batch).flatten(1)
    update = (batch - step.noisy).flatten(1)
    assert spread(batch + delta.view_as(batch)) > spread(batch)
    assert torch.cosine_similarity(delta, update).tolist() == pytest.approx([0, 0], abs=1e-5)


def test_a_image_leaves_its_double_in_the_bank() -> None:
    image = noise(1, 1)
    bank = bank_of(image + 0.1 * noise(2, 1))
    moved = steered(VendiGuidance(bank=bank), image)
    assert torch.dist(moved, image) > 1


def test_exemplars_draw() -> None:
    image, real = noise(1, 2), noise(2, 3)
    settings = VendiSettings(alpha=0.0, beta=1.0, project=False)
    moved = steered(VendiGuidance(settings, exemplars=exemplars(real)), image)
    assert torch.cdist(moved.flatten(1), real.flatten(1)).mean() < torch.cdist(image.flatten(1), real.flatten(1)).mean()


def test_exemplars_do_not_drown_in_the_bank() -> None:
    """A bank of one or of two hundred: the pull towards the exemplars stays the same, the push does not vanish."""
    image, real = noise(1, 1), exemplars(noise(2, 2))
    twin = image + 0.1 * noise(3, 1)
    away = VendiSettings(beta=0.0, in_batch=False, project=False)
    pushes = [
        (steered(VendiGuidance(away, bank_of(bank)), image) - image).norm()
        for bank in (twin, torch.cat([twin, noise(4, 200)]))
    ]
    assert float(pushes[1]) == pytest.approx(float(pushes[0]), rel=0.05)
    both = replace(away, beta=1.0)
    moved = steered(VendiGuidance(both, bank_of(torch.cat([twin, noise(4, 200)])), real), image)
    assert torch.dist(moved, twin) > torch.dist(image, twin)


@pytest.mark.parametrize(
    "settings",
    [
        VendiSettings(strength=0.0, cfg_easing=0.0),
        VendiSettings(interval=SigmaInterval(high=0.5)),
        VendiSettings(in_batch=False),
        VendiSettings(alpha=0.0, beta=1.0),
    ],
)
def test_nothing_to_do_is_the_very_same_tensor(settings: VendiSettings) -> None:
    batch = alike(3)
    guidance = VendiGuidance(settings)
    assert steered(guidance, batch) is batch
    assert guidance.finish(batch) is batch


def test_between_steps_that_measure_what_was_found_holds() -> None:
    batch, driver, seen = alike(3), Driver(), []

    def encode(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(1) - 0.5

    features = LatentFeatures(
        Encoder(encode, "toy", 192, differentiable=True), lambda latents: latents[:, :3].sigmoid()
    )
    guidance = driver.begin(VendiGuidance(VendiSettings(frequency=2), features=lambda run: features))
    first = guidance(batch, driver.step(batch, sigma=1.0)) - batch
    measured = len(seen)
    later = 0.9 * batch
    assert torch.allclose(guidance(later, driver.step(later, sigma=0.5)) - later, first, atol=1e-5)
    assert len(seen) == measured
    assert [step.sigma for step in guidance.trace.steps] == [1.0, 0.5]
    # The next run begins with nothing.
    driver.begin(guidance)
    assert guidance(batch, driver.step(batch, sigma=0.5)) is batch


def test_one_image_and_an_empty_bank() -> None:
    image = noise(1, 1)
    assert steered(VendiGuidance(bank=BankSnapshot.empty()), image) is image


def test_frequency_counts_steps_of_the_schedule() -> None:
    driver, batch = Driver(), alike(3)
    guidance = driver.begin(VendiGuidance(VendiSettings(frequency=2, hold=False)))
    assert guidance(batch, driver.step(batch, sigma=1.0)) is not batch
    assert guidance(batch, driver.step(batch, sigma=0.7)) is not batch  # an evaluation between two steps
    assert guidance(batch, driver.step(batch, sigma=0.5)) is batch


def test_pushes_are_clipped() -> None:
    batch = alike(4)
    guidance = VendiGuidance(VendiSettings(strength=10.0, cfg_easing=0.0, norm_clip=NormClip(update=1.0, estimate=0.2)))
    moved = steered(guidance, batch)
    lengths = (moved - batch).flatten(1).norm(dim=1) / batch.flatten(1).norm(dim=1)
    assert lengths.tolist() == pytest.approx([0.2] * 4, rel=1e-4)
    assert all(record.clipped for record in guidance.trace.steps[0].samples)


def test_cfg_easing_goes_to_the_conditional_estimate_by_redundancy() -> None:
    conditional = torch.cat([noise(0, 1).repeat(2, 1, 1, 1) + 0.1 * noise(1, 2), noise(9, 1)])
    guided = conditional + 5 * noise(3, 3)
    guidance = VendiGuidance(VendiSettings(strength=0.0))
    moved = steered(guidance, guided, conditional=conditional)
    records = guidance.trace.steps[0].samples
    assert [record.cfg_easing for record in records] == [record.correction for record in records]
    share = (moved - guided).flatten(1).norm(dim=1) / (conditional - guided).flatten(1).norm(dim=1)
    assert share[0] > 0.3
    assert share[2] < 1e-3


def test_no_image_is_moved_outside_the_mask() -> None:
    batch = alike(3)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    moved = steered(VendiGuidance(), batch, mask=mask)
    assert torch.equal(moved[..., 4:], batch[..., 4:])
    assert not torch.equal(moved[..., :4], batch[..., :4])


def test_identical_images_part() -> None:
    """No gradient tells them apart; the run's own generator does, the same way every time."""
    batch = noise(1, 1).repeat(3, 1, 1, 1)
    first, second = (steered(VendiGuidance(), batch) for _ in range(2))
    assert spread(first) > 1
    assert torch.equal(first, second)


def test_an_estimate_that_is_not_finite_spoils_no_other() -> None:
    batch = alike(4)
    batch[1, 0, 0, 0] = torch.nan
    batch[2] = 0
    guidance = VendiGuidance()
    moved = steered(guidance, batch)
    assert torch.equal(moved[2], batch[2])
    assert torch.equal(moved[1], batch[1]) or moved[1].isnan().sum() == 1
    assert moved[[0, 3]].isfinite().all()
    assert not torch.equal(moved[0], batch[0])
    assert [record.sample for record in guidance.trace.steps[0].samples] == [0, 3]


def test_a_batch_without_any_finite_estimate_is_left_alone() -> None:
    batch = torch.full((2, *SHAPE), torch.nan)
    guidance = VendiGuidance()
    assert steered(guidance, batch) is batch
    assert "could be measured" in guidance.trace.notes[0]
    guidance.finish(batch)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_stays(dtype: torch.dtype) -> None:
    batch = alike(3).to(dtype)
    moved = steered(VendiGuidance(), batch)
    assert moved.dtype == dtype
    assert moved.isfinite().all()


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 32), (4, 1, 8, 8), (4, 2, 2)])
def test_videos_sound_and_tiny_latents(shape: tuple[int, ...]) -> None:
    batch = noise(1, 1, shape).repeat(3, *[1] * len(shape)) + 0.3 * noise(2, 3, shape)
    moved = steered(VendiGuidance(), batch)
    assert moved.shape == batch.shape
    assert spread(moved) > spread(batch)


def test_the_paper_moves_the_sample_by_a_share_of_its_length() -> None:
    image, driver = noise(1, 1), Driver(batch=1)
    guidance = driver.begin(VendiGuidance(VendiSettings.paper(0.05), bank_of(noise(2, 3))))
    step = driver.step(image)
    delta = guidance(image, step) - image
    assert float(delta.norm() * (1 - step.next_sigma / step.sigma)) == pytest.approx(
        0.05 * float(step.noisy.norm()), rel=1e-4
    )


def test_only_remembered_images_of_similar_prompts_push() -> None:
    image = noise(1, 1)
    twin = image + 0.1 * noise(2, 1)
    for prompt, pushed in (("a red car", True), ("two dogs", False)):
        guidance = VendiGuidance(bank=bank_of(twin, ["A red car."]), prompt=prompt)
        assert (steered(guidance, image) is not image) == pushed


def test_only_remembered_images_of_similar_conditionings_push() -> None:
    image, encodings = noise(1, 1), torch.eye(3)
    twin = image + 0.1 * noise(2, 1)
    bank = bank_of(twin, conditioning=encodings[:1]).extended(twin + 0.1, latent_format="SD3")
    pushes = []
    for row in (0, 1):
        guidance = VendiGuidance(bank=bank, prompt=EncodedPrompt(encodings[row : row + 1], "conditioning"))
        pushes.append(float((steered(guidance, image) - image).norm()))
        assert guidance.trace.notes == [
            "1 image of the bank was without such a conditioning and left out. Connect it to Save to Memory Bank, too."
        ]
    assert pushes[0] > 20 * pushes[1]
    alone = VendiGuidance(bank=bank, prompt=EncodedPrompt(encodings[:1], "of another encoder"))
    assert steered(alone, image) is image


def test_it_composes_with_sparse_repellency() -> None:
    batch, driver = alike(4), Driver(batch=4)
    results = []
    for links in (
        [VendiGuidance()],
        [VendiGuidance(), SparseRepellency(RepellencySettings(radius=1.0))],
        [SparseRepellency(RepellencySettings(radius=1.0)), VendiGuidance()],
    ):
        chain = driver.begin(Chain(links))
        results.append(chain(batch, driver.step(batch)))
        assert len(chain.trace.steps) == len(links)
    assert not torch.equal(results[1], results[2])
    assert all(spread(result) > spread(batch) for result in results)


def test_the_trace_names_the_nearest() -> None:
    image = noise(1, 1)
    bank = bank_of(torch.cat([noise(5, 1), image + 0.1 * noise(2, 1)]))
    guidance = VendiGuidance(bank=bank)
    steered(guidance, image)
    record = guidance.trace.steps[0].samples[0]
    assert record.contacts[0].reference == bank.entries[1].id
    assert record.nearest == record.contacts[0].distance < 0.2
    guidance.finish(image)
    assert guidance.trace.final_nearest == pytest.approx([record.nearest], rel=1e-3)


def test_the_summary_speaks_of_no_shields() -> None:
    batch = alike(2)
    guidance = VendiGuidance()
    driver = Driver(batch=2)
    driver.begin(guidance)
    assert guidance.trace.summary() == "Nothing was moved: the model was not evaluated while guidance was active."
    far = torch.cat([noise(1, 1), -noise(1, 1)])
    guidance(far, driver.step(far))
    assert guidance.trace.summary() == "Nothing was moved: no estimate needed it while guidance was active."
    guidance(batch, driver.step(batch))
    assert guidance.trace.summary().startswith("Moved 2 of 2 images in 1 of 2 active steps")


@pytest.mark.parametrize("masked", [False, True])
def test_steering_works_in_inference_mode(masked: bool) -> None:
    """Hosts run samplers there; what they pass can take part in no gradient."""
    with torch.inference_mode():
        batch = alike(3)
        bank = bank_of(alike(2, seed=5))
        moved = steered(VendiGuidance(bank=bank), batch, mask=left_half() if masked else None)
    assert spread(moved) > spread(batch)


def test_remembered_features_are_used_and_the_rest_is_decoded() -> None:
    seen: list[int] = []

    def encode(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(1) - 0.5

    space = Encoder(encode, "toy", 3 * 64, differentiable=True)
    bank = bank_of(noise(1, 2), toy=torch.eye(192)[:2]).extended(noise(2, 3), latent_format="SD3")
    features = LatentFeatures(space, lambda latents: latents[:, :3].sigmoid())
    guidance = VendiGuidance(bank=bank, features=lambda run: features)
    driver = Driver()
    driver.begin(guidance)
    assert seen == [3]
    assert "3 images of the bank were without features and decoded first" in guidance.trace.notes[0]
    batch = alike(3)
    assert guidance(batch, driver.step(batch)) is not batch


def test_images_of_the_run_s_own_seed_are_told() -> None:
    bank = bank_of(noise(1, 2)).extended(noise(2, 1), latent_format="SD3", seeds=7)
    guidance = VendiGuidance(bank=bank)
    Driver().begin(guidance)
    assert guidance.trace.notes == ["1 reference has this run's seed: another seed varies more."]


def test_blank_images_are_left_out() -> None:
    """They have no direction, and the cosine kernel takes unit features alone."""
    image = noise(1, 2)
    bank = bank_of(torch.cat([image[:1] + 0.1, torch.zeros(1, *SHAPE)]))
    real = exemplars(torch.cat([noise(2, 1), torch.zeros(1, *SHAPE)]))
    guidance = VendiGuidance(VendiSettings(kernel="cosine"), bank, real)
    assert spread(steered(guidance, image)) > 0
    assert guidance.trace.notes == ["1 image of the bank was without contrast and left out."]


def left_half() -> Tensor:
    mask = torch.zeros(1, 1, *SHAPE[1:])
    mask[..., : SHAPE[-1] // 2] = 1
    return mask


def test_under_a_mask_images_are_compared_where_they_may_change() -> None:
    image, other, mask = noise(1, 1), noise(2, 1), left_half()
    same_inside = image * mask + other * (1 - mask)
    same_outside = other * mask + image * (1 - mask)
    guidance = VendiGuidance(bank=bank_of(torch.cat([same_inside, same_outside])))
    moved = steered(guidance, image, mask=mask)
    contacts = {contact.reference: contact.distance for contact in guidance.trace.steps[0].samples[0].contacts}
    inside, outside = (contacts[entry.id] for entry in guidance.bank.entries)  # type: ignore[union-attr]
    assert inside == pytest.approx(0, abs=1e-3)
    assert outside > 1
    assert torch.equal(moved * (1 - mask), image * (1 - mask))
    guidance.finish(image)
    assert guidance.trace.final_nearest == pytest.approx([inside], abs=1e-3)


def test_under_a_mask_exemplars_and_the_length_of_a_push_are_those_of_the_part() -> None:
    image, mask = noise(1, 1), left_half()
    real = exemplars(torch.cat([image * mask + noise(2, 1) * (1 - mask), noise(3, 1) * (1 - mask)]))
    settings = VendiSettings(alpha=0.0, beta=1.0, project=False)
    # The part of one exemplar is this image's own, that of the other is blank.
    assert torch.allclose(steered(VendiGuidance(settings, exemplars=real), image, mask=mask), image, atol=1e-4)
    whole, part = (
        (steered(VendiGuidance(settings, exemplars=exemplars(noise(4, 1))), image, mask=each) - image).norm()
        for each in (None, mask)
    )
    assert float(part / whole) == pytest.approx(0.5**0.5, rel=0.1)


def test_a_mask_that_lets_nothing_change() -> None:
    batch = alike(2)
    guidance = VendiGuidance()
    assert steered(guidance, batch, mask=torch.zeros(1, 1, *SHAPE[1:])) is batch
    assert guidance.finish(batch) is batch


def test_features_that_cannot_steer_are_refused() -> None:
    with pytest.raises(ValueError, match="no gradients flow"):
        LatentFeatures(Encoder(lambda images: images.flatten(1), "toy", 192))


def test_features_of_another_length_are_refused() -> None:
    space = Encoder(lambda images: images.flatten(1), "toy", 192, differentiable=True)
    features = LatentFeatures(space, lambda latents: latents[:, :3].sigmoid())
    guidance = VendiGuidance(bank=bank_of(noise(1, 2), toy=torch.ones(2, 7)), features=lambda run: features)
    with pytest.raises(ValueError, match="192 numbers"):
        Driver().begin(guidance)


def test_chunks_change_nothing() -> None:
    batch = alike(5)
    run = SamplingRun(5, SHAPE, torch.tensor([1.0, 0.0]), torch.device("cpu"), "SD3", 7)
    whole = latent_layout()(run)
    parts = replace(whole, chunk=2)
    cotangents = [noise(4, 5, (256,)), noise(5, 5, (256,))]
    assert torch.allclose(whole(batch), parts(batch))
    for one, other in zip(whole.pull_back(batch, cotangents), parts.pull_back(batch, cotangents), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_bank_of_another_format_is_refused() -> None:
    bank = BankSnapshot.empty("b").extended(noise(1, 2), latent_format="SDXL")
    with pytest.raises(ValueError, match="SDXL"):
        Driver().begin(VendiGuidance(bank=bank))


def test_exemplars_without_latents_are_refused_for_latent_features() -> None:
    images = ExemplarSet.from_images(torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match="connect the model's VAE"):
        Driver().begin(VendiGuidance(exemplars=images))


def test_exemplars_of_another_vae_are_refused() -> None:
    with pytest.raises(ValueError, match="another model's VAE"):
        Driver().begin(VendiGuidance(exemplars=exemplars(noise(1, 2, (16, 8, 8)))))


def test_a_prompt_for_each_image() -> None:
    with pytest.raises(ValueError, match="2 prompts for 3 images"):
        Driver().begin(VendiGuidance(bank=bank_of(noise(1, 1)), prompt=["a", "b"]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alpha": 0.0, "beta": 0.0}, "alpha and beta both 0"),
        ({"strength": -1.0}, "strength must be a number of at least 0"),
        ({"bandwidth": float("nan")}, "bandwidth must be a number of at least 0"),
        ({"order": 0.0}, "order of a Vendi Score"),
        ({"frequency": 0}, "at least 1"),
        ({"kernel": "linear"}, "kernel must be one of"),
    ],
)
def test_settings_out_of_range(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        VendiSettings(**change)  # type: ignore[arg-type]
