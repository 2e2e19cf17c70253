"""Errors of our own, planted in every part of a method: images are kept, and the node tells."""

from __future__ import annotations

import pytest
import torch
from diversity_guidance.features.pooled_latents import PooledLatents
from diversity_guidance.guidance.base import Chain, Guidance, SamplingRun, SamplingStep
from diversity_guidance.guidance.containment import Contained, is_out_of_memory
from diversity_guidance.guidance.references import ImageReferences
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.trace import Trace
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.guidance.vendi.settings import VendiSettings
from diversity_guidance.kernels.shields import reference_blocks
from diversity_guidance.kernels.shields.reference_blocks import read_chunks
from torch import Tensor

SIGMAS = torch.tensor([1.0, 0.5, 0.25, 0.0])
SHAPE = (4, 4, 4)


class Cancelled(Exception):
    """Stands for a host's exception by which it cancels a run."""


class Planted(Guidance):
    """Adds 1 to every estimate and to the result, and fails where it is told to.

    Args:
        where: parts that fail, such as "begin" or "step"; "step 1" is the second step alone.
        error: raised there.
        promises: whether it guarantees something of the result.
    """

    def __init__(self, where: str, error: BaseException, promises: bool = False) -> None:
        self.where, self.error, self.promises = where, error, promises
        self.calls = 0
        self._trace = Trace()

    def _fail(self, *places: str) -> None:
        if self.where in places:
            raise self.error

    @property
    def trace(self) -> Trace:
        return self._trace

    @property
    def guarantees(self) -> bool:
        return self.promises

    def begin(self, run: SamplingRun) -> None:
        self._fail("begin")

    def __call__(self, denoised: Tensor, step: SamplingStep) -> Tensor:
        self.calls += 1
        self._fail("step", f"step {self.calls - 1}")
        return denoised + 1

    def finish(self, samples: Tensor) -> Tensor:
        self._fail("finish")
        self._trace.finished = True
        return samples + 1

    def corrected(self, samples: Tensor) -> Tensor:
        self._fail("corrected")
        return samples + 1


def sample(guidance: Guidance, start: Tensor | None = None) -> Tensor:
    """A run of three steps that adds up what was done to it, from zeros; and to a second result."""
    chain = Chain([Contained(guidance, (Cancelled,))])
    chain.begin(SamplingRun(2, SHAPE, SIGMAS, torch.device("cpu"), "SD3", 7))
    x = torch.zeros(2, *SHAPE) if start is None else start
    for sigma in SIGMAS[:-1].tolist():
        x = chain(x, SamplingStep(sigma, sigma / 2, 0.0, x + 10, x))
    return chain.corrected(chain.finish(x))


ERRORS = [RuntimeError("planted"), KeyError("planted"), torch.linalg.LinAlgError("planted"), AssertionError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("where", "done"), [("begin", 2), ("step", 2), ("step 1", 3), ("finish", 4), ("corrected", 4)])
def test_the_image_is_kept_and_the_node_tells(where: str, done: float, error: Exception) -> None:
    guidance = Planted(where, error)
    assert torch.equal(sample(guidance), torch.full((2, *SHAPE), done))
    (note,) = guidance.trace.notes
    assert note.startswith("This node ") and type(error).__name__ in note
    assert note in guidance.trace.summary()


def test_a_failing_step_is_not_tried_again() -> None:
    guidance = Planted("step", RuntimeError("planted"))
    sample(guidance)
    assert guidance.calls == 1
    assert "noise level 1 (RuntimeError: planted)" in guidance.trace.notes[0]


@pytest.mark.parametrize("where", ["begin", "step", "finish", "corrected"])
def test_cancel_is_no_error(where: str) -> None:
    with pytest.raises(Cancelled):
        sample(Planted(where, Cancelled()))


@pytest.mark.parametrize("promises", [False, True])
def test_inputs_that_do_not_fit_end_the_run(promises: bool) -> None:
    with pytest.raises(ValueError, match="another model"):
        sample(Planted("begin", ValueError("of another model"), promises))


@pytest.mark.parametrize("where", ["begin", "finish", "corrected"])
def test_nothing_leaves_without_what_is_guaranteed(where: str) -> None:
    with pytest.raises(RuntimeError, match="planted"):
        sample(Planted(where, RuntimeError("planted"), promises=True))


def test_a_failing_step_does_not_break_a_guarantee_that_the_end_keeps() -> None:
    guidance = Planted("step", RuntimeError("planted"), promises=True)
    assert torch.equal(sample(guidance), torch.full((2, *SHAPE), 2.0))
    assert guidance.trace.finished


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, known: bool) -> None:
    assert is_out_of_memory(error) == known


def test_memory_that_runs_out_leaves_a_step_unsteered() -> None:
    """Three tries, each with smaller chunks; the next step is tried again, for memory comes and goes."""
    guidance = Planted("step", torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert torch.equal(sample(guidance), torch.full((2, *SHAPE), 2.0))
    assert guidance.calls == 9
    assert guidance.trace.notes == ["Memory ran out in 3 evaluations, so they were not steered."]


def test_memory_that_suffices_for_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse Repellency gives the same push from smaller chunks of references."""
    references = torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(1))
    source = ImageReferences(references)
    settings = RepellencySettings(absolute_radius=100.0, in_batch=False)
    start = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2))
    expected = sample(SparseRepellency(settings, [source]), start)
    assert not torch.allclose(expected, start, atol=0.1)
    sizes: list[int] = []

    def limited(*args: object, **kwargs: object) -> object:
        for offset, chunk in read_chunks(*args, **kwargs):  # pyright: ignore[reportArgumentType]
            sizes.append(len(chunk))
            if len(chunk) > 50:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            yield offset, chunk

    monkeypatch.setattr(reference_blocks, "CPU_CHUNK_ELEMENTS", 128 * 64)
    guidance = SparseRepellency(settings, [source])
    monkeypatch.setattr("diversity_guidance.kernels.shields.field.read_chunks", limited)
    assert torch.allclose(sample(guidance, start), expected, atol=1e-3)
    assert max(sizes) == 128 and min(sizes) <= 16
    assert guidance.trace.notes == []


def test_memory_that_suffices_for_fewer_estimates_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vendi Guidance decodes and measures one estimate after the other, and pushes alike."""
    start = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1, 1)
    start[1] += 0.1 * start.flip(-1)[0]
    settings = VendiSettings()
    expected = sample(VendiGuidance(settings), start)
    assert not torch.allclose(expected, start, atol=0.01)
    measure = PooledLatents.__call__

    def limited(space: PooledLatents, latents: Tensor) -> Tensor:
        if len(latents) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return measure(space, latents)

    monkeypatch.setattr(PooledLatents, "__call__", limited)
    guidance = VendiGuidance(settings)
    assert torch.allclose(sample(guidance, start), expected, rtol=1e-4)
    assert guidance.trace.steps and not any("Memory ran out" in note for note in guidance.trace.notes)


def test_an_error_in_a_layer_leaves_its_activations_alone() -> None:
    guidance = Planted("nowhere", RuntimeError())
    contained = Contained(guidance, (Cancelled,))
    activations = torch.ones(2, 3)

    def broken() -> Tensor:
        raise IndexError("planted")

    def cancelled() -> Tensor:
        raise Cancelled

    with pytest.raises(Cancelled):
        contained.attempt(cancelled, activations, "failed in a layer")
    assert contained.attempt(broken, activations, "failed in a layer") is activations
    assert "This node failed in a layer (IndexError: planted)" in guidance.trace.notes[0]
    assert contained.attempt(lambda: activations + 1, activations, "failed in a layer") is activations
