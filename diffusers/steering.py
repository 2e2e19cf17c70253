"""Steer the pipelines of diffusers.

A steered pipeline has a copy of its scheduler whose step asks the guidance first, a watch on its denoiser that keeps
the estimates before classifier-free guidance, and a watch on what it prepares for a run. All three are taken back by
``unsteer``, or at the end of the ``with`` block, also after an error.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial, wraps
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from ..guidance.activations.guidance import FeatureGuidance
from ..guidance.base import Chain, Guidance
from ..guidance.prompt_easing import PromptEasing
from ..stores.bank.append import AppendResult
from ..stores.bank.bank import MemoryBank
from .denoiser_hooks import watch
from .empty_prompt import Call, EmptyPrompt
from .families import family_of
from .latent_space import LatentSpace, latent_space
from .noise_levels import check_scheduler, noise_schedule
from .steered_run import Prepared, SteeredRun, found_seed

STEERING = "_diversity_guidance"
"""Attribute of a steered pipeline."""

_in_use: WeakKeyDictionary[Guidance | nn.Module, Any] = WeakKeyDictionary()
"""The pipeline that each guidance and denoiser is in use by, as a weak reference."""


def steer(pipe: Any, *guidance: Guidance, negative_prompt: str = "") -> Steering:
    """Steer every run of a pipeline of diffusers from now on.

    To be used as ``with steer(pipe, guidance): ...``, or until ``unsteer(pipe)``.

    Args:
        pipe: the pipeline, offloaded or compiled or not.
        guidance: one or several, which act in this order.
        negative_prompt: what prompt easing follows in the first steps of runs without classifier-free guidance.

    Returns:
        What is known of the last run.

    Raises:
        ValueError: the pipeline or its scheduler cannot be steered, it is steered already, or a guidance is in use by
            another pipeline.
    """
    return Steering(pipe, guidance, negative_prompt)


def unsteer(pipe: Any) -> None:
    """Leave a pipeline as it was before it was steered; nothing happens if it is not steered."""
    steering = getattr(pipe, STEERING, None)
    if steering is not None:
        steering.end()


class Steering:
    """A steered pipeline, and a context that ends it; made by ``steer``."""

    def __init__(self, pipe: Any, guidances: Sequence[Guidance], negative_prompt: str = "") -> None:
        self._family = family_of(pipe)
        check_scheduler(pipe.scheduler)
        if getattr(pipe, STEERING, None) is not None:
            raise ValueError(
                "This pipeline is steered already. Call unsteer(pipe) first, or give all guidances at once."
            )
        denoisers = [each for name in self._family.denoisers if (each := getattr(pipe, name, None)) is not None]
        single = _single(guidances)
        self._claimed = (*single, *denoisers)
        _check_free(self._claimed, pipe)
        self.guidance = Chain(guidances)
        self.pipe = pipe
        self.space: LatentSpace = latent_space(pipe.vae, self._family.latent_format)
        self.latents: Tensor | None = None
        self._prepared: Prepared | None = None
        self._run: SteeredRun | None = None
        self._time: Any = None
        self._unstepped = 0
        self._last_call: tuple[nn.Module, Call] | None = None
        self._muted = False
        # Encoded now, as an offloaded pipeline has its text encoder at hand before a run only.
        eases = any(isinstance(each, PromptEasing) for each in single)
        can_encode = getattr(pipe, "text_encoder", None) is not None
        self._empty = EmptyPrompt(pipe, self._family, negative_prompt) if eases and can_encode else None
        self._undo = ExitStack()
        with ExitStack() as undo:
            self._patch(undo, denoisers)
            self._undo = undo.pop_all()

    def __enter__(self) -> Steering:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(failed=error is not None)

    def end(self, *, failed: bool = False) -> None:
        """Leave the pipeline as it was.

        Args:
            failed: whether an error ends it.

        Raises:
            ValueError: images are protected, and a run could not be steered.
        """
        self._undo.close()
        if self._run is not None and not failed:
            self._run.abandon()
        self._run = self._prepared = self._last_call = None
        if self._unstepped and self.guidance.protects and not failed:
            raise ValueError(
                "Nothing was protected: the pipeline's scheduler was replaced while it was steered. Replace it before."
            )

    @property
    def latent_format(self) -> str:
        """Name of the pipeline's latent format, as in ComfyUI."""
        return self.space.name

    @property
    def encoder(self) -> str:
        """Fingerprint of the pipeline's VAE; "" where it is not known."""
        return self.space.encoder

    def remember(
        self, bank: MemoryBank, prompts: str | Sequence[str] | None = None, seeds: int | Sequence[int] | None = None
    ) -> AppendResult:
        """Save the images of the last run to a Memory Bank.

        Args:
            bank: the bank.
            prompts: of the images, one for all or one for each.
            seeds: as ``prompts``.

        Raises:
            ValueError: no run was finished, or the bank holds latents of another format or VAE.
        """
        if self.latents is None:
            raise ValueError("There is nothing to remember: no run of this pipeline was finished while it was steered.")
        return bank.append(
            self.latents, latent_format=self.latent_format, prompts=prompts, seeds=seeds, encoder=self.encoder
        )

    def _patch(self, undo: ExitStack, denoisers: Sequence[nn.Module]) -> None:
        pipe = self.pipe
        for each in self._claimed:
            _in_use[each] = ref(pipe)
            undo.callback(_in_use.pop, each, None)
        setattr(pipe, STEERING, self)
        undo.callback(delattr, pipe, STEERING)
        undo.callback(watch_scheduler(pipe, self._seen, self._stepped))
        for denoiser in denoisers:
            undo.callback(watch(denoiser, partial(self._before, denoiser), self._after))
        undo.callback(replace_method(pipe, "prepare_latents", self._prepare))
        if hasattr(pipe, "prepare_mask_latents"):
            undo.callback(replace_method(pipe, "prepare_mask_latents", self._prepare_mask))

    def _prepare(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Prepare latents, and with them a run."""
        result = method(*args, **kwargs)
        given = inspect.signature(method).bind(*args, **kwargs).arguments
        latents, *further = result if isinstance(result, tuple) else (result,)
        if self._run is not None:
            self._run.abandon()
        self._run = None
        side = 2 * getattr(self.pipe, "vae_scale_factor", 8)
        grid = (int(given.get("height") or 0) // side, int(given.get("width") or 0) // side)
        original = further[1] if len(further) > 1 and further[1].shape == latents.shape else None
        self._prepared = Prepared(latents, grid, found_seed(given.get("generator")), original)
        return result

    def _prepare_mask(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = method(*args, **kwargs)
        if self._prepared is not None:
            self._prepared = replace(self._prepared, mask=result[0])
        return result

    def _seen(self, time: Any) -> None:
        self._time = time

    def _before(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Begin a run with its first evaluation, and leave out the prompt where it is replaced."""
        if self._prepared is not None:
            prepared, self._prepared = self._prepared, None
            self.latents = None
            evaluate = None if self._empty is None else partial(self._evaluate, self._empty)
            schedule, first = noise_schedule(self.pipe.scheduler), self._first_place()
            self._run = SteeredRun(self.guidance, self._family, self.space, schedule, first, prepared, evaluate)
        if self._run is None or self._empty is None or self._muted:
            return args, kwargs
        self._last_call = denoiser, (args, kwargs)
        return self._empty.instead((args, kwargs)) if self._run.replaces_prompt() else (args, kwargs)

    def _evaluate(self, empty: EmptyPrompt) -> Any:
        """Evaluate the denoiser as last time, but without the prompt."""
        assert self._last_call is not None
        denoiser, call = self._last_call
        args, kwargs = empty.instead(call)
        self._muted = True
        try:
            return denoiser(*args, **kwargs)
        finally:
            self._muted = False

    def _first_place(self) -> int:
        """Where in the schedule a run begins: image to image leaves out the first steps."""
        scheduler = self.pipe.scheduler
        begin = getattr(scheduler, "begin_index", None)
        if begin is not None:
            return int(begin)
        if self._time is None:
            return 0
        return int((scheduler.timesteps == self._time).nonzero()[0])

    def _after(self, output: Any) -> None:
        if self._run is not None and not self._muted:
            self._run.note_evaluation(output)
            self._unstepped += 1

    def _stepped(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._unstepped = 0
        if self._run is None:
            return method(*args, **kwargs)
        result = self._run.step(method, *args, **kwargs)
        if self._run.finished is not None:
            self.latents, self._run = self._run.finished, None
        return result


def _single(guidances: Sequence[Guidance]) -> list[Guidance]:
    """All guidances, those of chains one by one, if they can be used here."""
    found: list[Guidance] = []
    for each in guidances:
        found += _single(each.guidances) if isinstance(each, Chain) else [each]
    if not found:
        raise ValueError("Give a guidance, such as SparseRepellency().")
    if any(isinstance(each, FeatureGuidance) for each in found):
        raise ValueError("Feature Guidance acts on the layers of ComfyUI's networks and cannot be used in diffusers.")
    return found


def _check_free(claimed: Sequence[Guidance | nn.Module], pipe: Any) -> None:
    """Refuse what is in use, by another pipeline or twice."""
    if len({id(each) for each in claimed}) < len(claimed):
        raise ValueError("One guidance is given twice: make a second one with the same settings.")
    for each in claimed:
        user = _in_use.get(each, lambda: None)()
        if user is not None and user is not pipe:
            what = "guidance is" if isinstance(each, Guidance) else "denoiser is"
            raise ValueError(
                f"This {what} in use by another pipeline ({type(user).__name__}). Call unsteer on that one first"
                + (", or make a guidance for each." if isinstance(each, Guidance) else ".")
            )


def replace_method(
    owner: Any, name: str, instead: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
) -> Callable[[], None]:
    """Replace a method of one object by a function that is given the method and its arguments.

    Returns:
        Takes it back.
    """
    method = getattr(owner, name)
    own = name in owner.__dict__

    @wraps(method)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return instead(method, args, kwargs)

    setattr(owner, name, replacement)
    return lambda: setattr(owner, name, method) if own else delattr(owner, name)


def watch_scheduler(
    pipe: Any,
    seen: Callable[[Any], None],
    stepped: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any],
) -> Callable[[], None]:
    """Give a pipeline a copy of its scheduler that tells what it is asked.

    Args:
        pipe: the pipeline.
        seen: called with the time of an evaluation, by pipelines that scale the model's input.
        stepped: called in place of ``step``.

    Returns:
        Takes it back.
    """
    original, watched = pipe.scheduler, copy.copy(pipe.scheduler)

    def scale(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        seen(args[1] if len(args) > 1 else kwargs.get("timestep"))
        return method(*args, **kwargs)

    replace_method(watched, "step", stepped)
    if hasattr(watched, "scale_model_input"):
        replace_method(watched, "scale_model_input", scale)
    pipe.scheduler = watched

    def take_back() -> None:
        if pipe.scheduler is watched:
            pipe.scheduler = original

    return take_back
