"""A steered pipeline of the embedded model: what it does, what it refuses, and that it can be taken back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diversity_guidance import embedded
from diversity_guidance.diffusers import steer, unsteer
from diversity_guidance.embedded.latent_space import LATENT_FORMAT, autoencoder_fingerprint
from diversity_guidance.embedded.transformer import to_raw_latents
from diversity_guidance.guidance import Chain, RepellencySettings, SparseRepellency, VendiGuidance
from diversity_guidance.stores import IndexBuilder, MemoryBank, ProtectedIndex
from project.tree import ROOT
from support.missing import library
from support.recording import Recording
from torch import Tensor, nn

library("diffusers")

BATCH, STEPS = 3, 3
STRONG = RepellencySettings(radius=1.0)


@pytest.fixture(scope="module")
def loaded() -> embedded.EmbeddedPipeline:
    pipe = embedded.pipeline(turbo=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(loaded: embedded.EmbeddedPipeline) -> Any:
    """The pipeline, which every test must leave as it was."""
    before = _state(loaded)
    yield loaded
    unsteer(loaded)
    assert _state(loaded) == before


def _state(pipe: Any) -> tuple[object, ...]:
    hooks = len(pipe.transformer._forward_hooks) + len(pipe.transformer._forward_pre_hooks)
    ours = {"_diversity_guidance", "prepare_latents", "prepare_mask_latents"} & set(pipe.__dict__)
    return pipe.scheduler, ours, {"step", "scale_model_input"} & set(pipe.scheduler.__dict__), hooks


def sampled(pipe: Any, seed: int = 1, **given: Any) -> Tensor:
    """Latents in the model's space."""
    wanted = {"num_images_per_prompt": BATCH, "num_inference_steps": STEPS, "guidance_scale": 1.0, **given}
    generator = torch.Generator().manual_seed(seed)
    return pipe(wanted.pop("prompt", "doctor"), generator=generator, output_type="latent", **wanted).images


def test_images_move_apart(pipe: Any) -> None:
    plain = sampled(pipe)
    guidance = SparseRepellency(STRONG)
    with steer(pipe, guidance):
        steered = sampled(pipe)
    assert torch.pdist(steered.flatten(1)).min() > 1.2 * torch.pdist(plain.flatten(1)).min()
    assert guidance.trace.finished and guidance.trace.headline().startswith("Moved 3 of 3 images")
    assert guidance.trace.seconds > 0
    assert torch.equal(sampled(pipe), plain), "it is still steered"


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_where_nothing_is_to_be_done_images_stay_bit_for_bit(pipe: Any, scale: float) -> None:
    plain = sampled(pipe, guidance_scale=scale)
    with steer(pipe, SparseRepellency(RepellencySettings(strength=0))):
        assert torch.equal(sampled(pipe, guidance_scale=scale), plain)


def test_a_guidance_is_told_everything(pipe: Any) -> None:
    recording = Recording()
    with steer(pipe, recording) as steering:
        latents = sampled(pipe, seed=7, prompt=["doctor", "dog"], num_images_per_prompt=2, height=64, width=80)
    (run,) = recording.runs
    assert (run.batch_size, run.latent_shape, run.seed) == (4, (16, 8, 10), 7)
    assert (run.latent_format, run.encoder) == (LATENT_FORMAT, autoencoder_fingerprint())
    assert (steering.latent_format, steering.encoder) == (LATENT_FORMAT, autoencoder_fingerprint())
    raw = torch.randn(1, 16, 8, 10)
    assert torch.allclose(to_raw_latents(run.to_model_space(raw)), raw, atol=1e-6)
    assert [step.sigma for step in recording.steps] == run.sigmas[:-1].tolist()
    assert [step.next_sigma for step in recording.steps] == run.sigmas[1:].tolist()
    assert [step.progress for step in recording.steps] == [0.0, 0.5, 1.0]
    assert all(
        step.conditional is estimate for step, estimate in zip(recording.steps, recording.estimates, strict=True)
    )
    assert torch.equal(recording.steps[0].noisy, torch.randn(4, 16, 8, 10, generator=torch.Generator().manual_seed(7)))
    (final,) = recording.finals
    assert torch.equal(final, latents)
    assert torch.allclose(steering.latents, to_raw_latents(latents), atol=1e-6)


def test_the_estimate_before_classifier_free_guidance(pipe: Any) -> None:
    """Without guidance every prediction is the prompt's; with it, the guided one follows from the other two."""
    recording = Recording(empty=True)
    with steer(pipe, recording):
        sampled(pipe, guidance_scale=4.0, negative_prompt="dog")
    for step, estimate, empty in zip(recording.steps, recording.estimates, recording.empties, strict=True):
        assert step.conditional is not estimate
        assert torch.allclose(empty + 4 * (step.conditional - empty), estimate, atol=1e-4)
    assert not torch.allclose(recording.steps[0].conditional, recording.estimates[0], atol=0.1)
    alone = Recording()
    with steer(pipe, alone):
        sampled(pipe, guidance_scale=1.0)
    assert torch.allclose(alone.estimates[0], recording.steps[0].conditional, atol=1e-5)


def test_what_a_guidance_answers_is_what_the_sampler_follows(pipe: Any) -> None:
    """The last step of a flow ends at the estimate itself."""
    recording = Recording(shift=0.5)
    with steer(pipe, recording):
        latents = sampled(pipe)
    assert torch.allclose(latents, recording.answers[-1], atol=1e-5)
    assert torch.allclose(recording.answers[-1], recording.estimates[-1] + 0.5)


def test_guarantees_hold_for_what_leaves_the_pipeline(pipe: Any) -> None:
    guidance = SparseRepellency(RepellencySettings(radius=1.0, strength=0.1, ensure_outside=True))
    with steer(pipe, guidance):
        latents = sampled(pipe)
    assert guidance.trace.violations == []
    nearest = torch.cdist(latents.flatten(1), latents.flatten(1)).fill_diagonal_(torch.inf).amin(1)
    assert torch.allclose(nearest, torch.tensor(guidance.trace.final_nearest), rtol=1e-4)


def test_several_guidances_act_in_order(pipe: Any) -> None:
    first, second = Recording(shift=0.25), Recording()
    with steer(pipe, first, second):
        sampled(pipe)
    assert torch.equal(second.estimates[0], first.answers[0])


def test_every_run_begins_anew(pipe: Any) -> None:
    guidance = SparseRepellency(STRONG)
    with steer(pipe, guidance):
        first = sampled(pipe)
        assert torch.equal(sampled(pipe), first)
        assert len(guidance.trace.steps) == STEPS


def test_a_bank_across_runs(pipe: Any, tmp_path: Path) -> None:
    bank = MemoryBank(tmp_path, "doctors")
    with steer(pipe, SparseRepellency(STRONG, [bank.snapshot()])) as steering:
        with pytest.raises(ValueError, match="nothing to remember"):
            steering.remember(bank)
        latents = sampled(pipe)
        kept = steering.remember(bank, prompts="doctor", seeds=1)
    assert (kept.added, bank.snapshot().encoder) == (BATCH, autoencoder_fingerprint())
    again = SparseRepellency(STRONG, [bank.snapshot()])
    with steer(pipe, again):
        moved = sampled(pipe, num_images_per_prompt=1)
    assert torch.cdist(moved.flatten(1), latents.flatten(1)).min() > 5
    assert set(kept.ids) & {contact.reference for contact in again.trace.contacts_of(0)}


@pytest.mark.parametrize("make", [lambda bank: SparseRepellency(STRONG, [bank]), lambda bank: VendiGuidance(bank=bank)])
def test_a_bank_of_another_vae(pipe: Any, tmp_path: Path, make: Any) -> None:
    bank = MemoryBank(tmp_path, "others")
    bank.append(torch.randn(2, 16, 8, 8), latent_format=LATENT_FORMAT, encoder="0123456789abcdef")
    with (
        steer(pipe, make(bank.snapshot())),
        pytest.raises(ValueError, match=r"'others' holds latents made by another VAE"),
    ):
        sampled(pipe)


def test_a_protected_index(pipe: Any, tmp_path: Path) -> None:
    target = to_raw_latents(sampled(pipe))
    for space in (f"latent:{LATENT_FORMAT}@{autoencoder_fingerprint()}", f"latent:{LATENT_FORMAT}@0123456789abcdef"):
        folder = tmp_path / space[-4:]
        with IndexBuilder(folder, space, target.shape[1:]) as builder:
            builder.append(target, ["a", "b", "c"])
            builder.finish()
    guidance = SparseRepellency(
        RepellencySettings(radius=0.4, ensure_outside=True, in_batch=False),
        protected=[ProtectedIndex.open(tmp_path / autoencoder_fingerprint()[-4:])],
    )
    with steer(pipe, guidance) as steering:
        sampled(pipe)
    assert torch.cdist(steering.latents.flatten(1), target.flatten(1)).min() > 1
    wrong = SparseRepellency(STRONG, protected=[ProtectedIndex.open(tmp_path / "cdef")])
    with pytest.raises(ValueError, match="another VAE"), steer(pipe, wrong):
        sampled(pipe)


def test_an_error_inside_a_run_leaves_nothing_behind(pipe: Any) -> None:
    """The fixture compares the pipeline's state."""
    plain = sampled(pipe)
    with pytest.raises(RuntimeError, match="broken"), steer(pipe, Recording(error=RuntimeError("broken"))):
        sampled(pipe)
    assert torch.equal(sampled(pipe), plain)


def test_an_error_while_steering_begins_leaves_nothing_behind(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "register_forward_hook", lambda *_: 1 / 0)
    guidance = Recording()
    with pytest.raises(ZeroDivisionError):
        steer(pipe, guidance)
    monkeypatch.undo()
    steer(pipe, guidance)


def test_a_run_that_is_stopped_early_says_so(pipe: Any) -> None:
    def stop(pipe: Any, step: int, _time: object, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        pipe._interrupt = step == 0
        return kept

    recording = Recording()
    with steer(pipe, recording):
        sampled(pipe, callback_on_step_end=stop)
        assert recording.trace.notes == []
    assert "ended before the last step" in recording.trace.notes[0]


def test_a_scheduler_that_is_replaced_meanwhile(pipe: Any, tmp_path: Path) -> None:
    """Where images are protected it is an error."""
    original = pipe.scheduler
    with IndexBuilder(tmp_path / "index", f"latent:{LATENT_FORMAT}", (16, 8, 8)) as builder:
        builder.append(torch.randn(1, 16, 8, 8), ["a"])
        builder.finish()
    guidance = SparseRepellency(STRONG, protected=[ProtectedIndex.open(tmp_path / "index")])
    with pytest.raises(ValueError, match="Nothing was protected"), steer(pipe, guidance):
        pipe.scheduler = type(original).from_config(original.config)
        sampled(pipe)
    pipe.scheduler = original


@pytest.mark.parametrize("way", ["module", "wrapper"])
def test_a_compiled_denoiser(pipe: Any, way: str) -> None:
    """Compiled before it is steered, in either of torch's ways; steering compiles nothing again."""
    plain, graphs = pipe.transformer, []

    def backend(graph: Any, _inputs: object) -> Any:
        graphs.append(graph)
        return graph.forward

    expected = Recording()
    with steer(pipe, expected):
        sampled(pipe, guidance_scale=4.0)
    if way == "module":
        plain.compile(backend=backend)
    else:
        pipe.transformer = torch.compile(plain, backend=backend)
    try:
        found = Recording()
        sampled(pipe, guidance_scale=4.0)
        compiled = len(graphs)
        with steer(pipe, found):
            sampled(pipe, guidance_scale=4.0)
        assert len(graphs) == compiled > 0
        for one, other in zip(found.steps, expected.steps, strict=True):
            assert torch.allclose(one.conditional, other.conditional, atol=1e-5)
    finally:
        pipe.transformer = plain
        plain.__dict__.pop("_compiled_call_impl", None)


def test_an_offloaded_denoiser(pipe: Any) -> None:
    """As `enable_model_cpu_offload` does it: the module's forward is replaced."""
    accelerate = library("accelerate")
    expected, found = Recording(), Recording()
    with steer(pipe, expected):
        sampled(pipe, guidance_scale=4.0)
    _, hook = accelerate.cpu_offload_with_hook(pipe.transformer, "cpu")
    try:
        with steer(pipe, found):
            sampled(pipe, guidance_scale=4.0)
        assert torch.equal(found.steps[-1].conditional, expected.steps[-1].conditional)
    finally:
        hook.remove()


def test_unsteer_ends_it_too(pipe: Any) -> None:
    guidance = Recording()
    steer(pipe, guidance)
    sampled(pipe)
    unsteer(pipe)
    unsteer(pipe)
    sampled(pipe)
    assert len(guidance.runs) == 1


def test_a_pipeline_or_guidance_in_use(pipe: Any) -> None:
    guidance, other = Recording(), embedded.pipeline(turbo=True)
    with steer(pipe, Chain([guidance])):
        with pytest.raises(ValueError, match="steered already"):
            steer(pipe, Recording())
        with pytest.raises(ValueError, match=r"guidance is in use by another pipeline \(EmbeddedPipeline\)"):
            steer(other, guidance)
        shared = type(pipe)(**pipe.components)
        with pytest.raises(ValueError, match="denoiser is in use"):
            steer(shared, Recording())
    with steer(other, guidance), pytest.raises(ValueError, match="given twice"):
        steer(pipe, guidance := Recording(), guidance)


def test_what_cannot_be_steered(pipe: Any) -> None:
    from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler

    class Unknown:
        pass

    with pytest.raises(ValueError, match=r"Unknown cannot be steered\. What works: StableDiffusionPipeline, "):
        steer(Unknown(), Recording())
    with pytest.raises(ValueError, match="Give a guidance"):
        steer(pipe)
    vae, pipe.vae = pipe.vae, None
    try:
        with pytest.raises(ValueError, match="has no VAE"):
            steer(pipe, Recording())
    finally:
        pipe.vae = vae
    original, pipe.scheduler = pipe.scheduler, EDMEulerScheduler()
    try:
        with pytest.raises(ValueError, match=r"EDMEulerScheduler cannot be steered.*works: EulerDiscreteScheduler"):
            steer(pipe, Recording())
    finally:
        pipe.scheduler = original


def test_our_folder_does_not_hide_the_library() -> None:
    """In the repository, Python finds our folder of the library's name first."""
    code = "import diffusers, diffusers.models; print(diffusers.__file__); print(diffusers.DDIMScheduler.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place, name = done.stdout.split()
    assert not Path(place).is_relative_to(ROOT) or "site-packages" in place
    assert name == "DDIMScheduler"
