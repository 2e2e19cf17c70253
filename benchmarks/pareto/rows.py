"""The rows of ``bench pareto``: every method at several values of its one strength, on one embedded model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...embedded.model import LATENT_FORMAT, EmbeddedModel
from ...embedded.schedule import sigma_at_percent, simple_schedule
from ...features.random_network import RandomNetwork
from ...guidance.base import Chain, Guidance
from ...guidance.limits import SigmaInterval
from ...guidance.presets import BALANCED, PRESETS, Preset, repellency_preset, vendi_preset
from ...guidance.prompt_easing import EasingSettings, PromptEasing
from ...guidance.references import ImageReferences, ReferenceSource
from ...guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings, SparseRepellency
from ...guidance.vendi.guidance import VendiGuidance
from ...kernels.similarity import squared_distances
from ..modes import WINDOW
from ..peers.conditioning import (
    AnnealedConditions,
    Change,
    ChangedConditions,
    IntervalGuidance,
    VariedConditions,
)
from ..peers.initial_noise import contrastive_noise, langevin_noise, one_step
from ..peers.latents import CompositionPush, EntropyGuidance, ParticleGuidance
from ..peers.layers import attenuated_means, repelled_context, with_changed_layers
from ..peers.selection import most_different
from ..vendi.rows import DEFAULT

CANDIDATES = 4
"""Images that group inference samples for each that it keeps."""


@dataclass(frozen=True)
class Setting:
    """Model and sampler of all rows of a table.

    Attributes:
        model: that is sampled.
        base: the model that it was distilled from; the same for the base model.
        steps: evaluations of the model.
        cfg: scale of classifier-free guidance, 1 for none.
    """

    model: EmbeddedModel
    base: EmbeddedModel
    steps: int
    cfg: float

    @classmethod
    def load(cls, turbo: bool, steps: int | None = None, cfg: float | None = None) -> Setting:
        """One of the embedded models, by default with its own steps and CFG."""
        base = EmbeddedModel.load()
        model = EmbeddedModel.load(turbo=True) if turbo else base
        own = model.sampling
        return cls(model, base, own.steps if steps is None else steps, own.cfg if cfg is None else cfg)

    def sample(
        self, prompt: str, seed: int, count: int, guidance: Guidance | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Raw latents (count, 16, 8, 8) of a prompt."""
        return self.model.sample([prompt] * count, seed, steps=self.steps, cfg=self.cfg, guidance=guidance, noise=noise)


Sample = Callable[[Setting, str, int, int], Tensor]
"""Raw latents for (setting, prompt, seed, count)."""


@dataclass(frozen=True)
class Row:
    """One method at one strength.

    Attributes:
        name: of the method, a comma, and its strength.
        sample: the sampler.
        cfg: scale of classifier-free guidance; 0 for that of the setting.
        target: wanted number of clearly different images of a batch; 0 for none.
    """

    name: str
    sample: Sample
    cfg: float = 0.0
    target: int = 0


def rows(distilled: bool) -> list[Row]:
    """All rows for a kind of model; "none" and "recommended" first."""
    found = [
        Row("none", guided(lambda: None)),
        Row("recommended", guided(lambda: recommended(distilled))),
        *ours(distilled),
        *(Row(f"CADS, scale {scale:g}", conditioned(_annealed(scale))) for scale in (0.25, 0.5, 1.0)),
        *(Row(f"seed variance in the first steps, {s:g}", conditioned(_varied(s))) for s in (1.0, 2.0, 4.0, 8.0)),
        *(Row(f"seed variance in all steps, {s:g}", conditioned(_varied(s, 0.0))) for s in (0.5, 1.0, 2.0)),
        *(Row(f"Particle Guidance, {s:g}", guided(_made(ParticleGuidance, s))) for s in (30.0, 100.0, 300.0, 1000.0)),
        *(Row(f"SPARKE, {s:g}", guided(_made(EntropyGuidance, s))) for s in (0.03, 0.1, 0.2, 0.4)),
        *(Row(f"DiversityBoost, {s:g}", guided(_made(CompositionPush, s))) for s in (0.5, 1.0, 2.0)),
        *(Row(f"DAVE, {s:g}", _attenuated(s)) for s in (0.15, 0.3, 0.6)),
        *(Row(f"contextual repulsion, {s:g}", _repelled(s)) for s in (0.1, 0.3, 1.0)),
        *(Row(f"contrastive noise, {s:g}", _contrastive(s)) for s in (3.0, 10.0, 30.0)),
        *(Row(f"DivIn, {s:g}", _langevin(s)) for s in (0.01, 0.05, 0.2)),
        Row("group inference, 1 of 4", _selected),
        Row("CFG 0 on the first step", _silent_first),
        Row("one image at a time beside a bank", _one_at_a_time),
    ]
    if distilled:
        found += [Row(f"base model at first, {s} steps", _base_first(s)) for s in (1, 2, 3)]
    else:
        found += [Row(f"lower CFG, {s:g}", guided(lambda: None), s) for s in (3.0, 2.0, 1.5, 1.0)]
        found += [
            Row(f"interval guidance, below sigma {s:g}", guided(_made(_interval, s))) for s in (0.8, 0.6, 0.4, 0.2)
        ]
    return found


def ours(distilled: bool) -> Iterator[Row]:
    """Our methods: their nodes' other presets, and sweeps without prompt easing."""
    for name in PRESETS:
        if name == BALANCED:
            continue  # It is the recommended one.
        yield Row(f"Sparse Repellency with prompt easing, {name}", guided(_made(_repelled_preset, name, distilled)))
    for name in PRESETS:
        yield Row(f"Vendi Guidance with prompt easing, {name}", guided(_made(_vendi_preset, name, distilled)))
    for target in (2, 4, 8, 12):
        yield Row(f"target, {target}", guided(_made(_aimed, target, distilled)), target=target)
    for strength in (0.1, 0.2, 0.3, 0.4):
        yield Row(f"Vendi Guidance, {strength:g}", guided(_made(_vendi, strength)))
    for radius in (0.15, 0.2, 0.3, 0.4):
        yield Row(f"Sparse Repellency, {radius:g}", guided(_made(_shields, radius)))
    for silent, eased in ((0.15, 0.15), (0.4, 0.4), (0.25, 0.6), (0.4, 0.75)):
        yield Row(f"prompt easing, {silent:g} to {eased:g}", guided(_made(_eased, silent, eased)))


def recommended(distilled: bool, sources: Sequence[ReferenceSource] = ()) -> Guidance:
    """Sparse Repellency at its node's defaults."""
    return _repelled_preset(BALANCED, distilled, sources)


def _repelled_preset(name: str, distilled: bool, sources: Sequence[ReferenceSource] = ()) -> Guidance:
    return with_preset(repellency_preset(name, distilled), partial(SparseRepellency, sources=sources), bool(sources))


def _vendi_preset(name: str, distilled: bool) -> Guidance:
    return with_preset(vendi_preset(name, distilled), VendiGuidance)


def _aimed(target: int, distilled: bool) -> Guidance:
    """The same with a target."""
    preset = repellency_preset(BALANCED, distilled)
    guidance = SparseRepellency(replace(preset.settings, interval=_until(1.0), target=target))
    easing = EasingSettings(sigma_at_percent(preset.silent), sigma_at_percent(preset.silent))
    return Chain([PromptEasing(easing, need=guidance.need), guidance])


def _until(end: float) -> SigmaInterval:
    return SigmaInterval(low=sigma_at_percent(min(end, RECOMMENDED_END)))


def with_preset(preset: Preset[Any], method: Callable[[Any], Guidance], alone: bool = False) -> Guidance:
    """A method with a preset, as its node runs it; ``alone`` as for prompt easing."""
    guidance = method(replace(preset.settings, interval=_until(preset.end)))
    return Chain([_eased(preset.silent, preset.silent, alone), guidance]) if preset.silent else guidance


def _eased(silent: float, eased: float, alone: bool = False) -> Guidance:
    """No prompt up to one fraction of the schedule, the whole prompt from another."""
    return PromptEasing(EasingSettings(sigma_at_percent(silent), sigma_at_percent(eased)), alone=alone)


def _vendi(strength: float) -> Guidance:
    return VendiGuidance(replace(DEFAULT, strength=strength))


def _shields(radius: float) -> Guidance:
    return SparseRepellency(RepellencySettings(radius=radius, interval=WINDOW))


class TwoModels(nn.Module):
    """One denoiser down to a noise level, another below it."""

    def __init__(self, first: nn.Module, second: nn.Module, until: float) -> None:
        super().__init__()
        self.first, self.second, self.until = first, second, until

    def forward(self, x: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, return_dict: bool = False) -> Any:
        """The same as the denoisers'."""
        noisy = float(times[0]) / 1000 >= self.until * (1 - 1e-6)
        return (self.first if noisy else self.second)(x, tokens, pooled, times, return_dict=return_dict)


def guided(make: Callable[[], Guidance | None]) -> Sample:
    """Sampling with a fresh guidance for every batch."""
    return lambda setting, prompt, seed, count: setting.sample(prompt, seed, count, make())


def conditioned(make: Callable[[int], Change]) -> Sample:
    """Sampling with conditionings changed by a change that is made for each seed."""

    def sample(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
        empty = setting.model.text.encode([""])[0][0]
        changed = replace(setting.model, transformer=ChangedConditions(setting.model.transformer, make(seed), empty))
        return replace(setting, model=changed).sample(prompt, seed, count)

    return sample


def _made(kind: Callable[..., Guidance], *values: Any) -> Callable[[], Guidance]:
    return lambda: kind(*values)


def _interval(high: float) -> Guidance:
    return IntervalGuidance(SigmaInterval(high=high))


def _annealed(scale: float) -> Callable[[int], Change]:
    return lambda seed: AnnealedConditions(scale, seed)


def _varied(strength: float, until: float = 0.8) -> Callable[[int], Change]:
    return lambda seed: VariedConditions(strength, seed, until=until)


def _attenuated(strength: float) -> Sample:
    def sample(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
        changed = with_changed_layers(setting.model, attenuated_means(strength), range(1, 3), 0.85)
        return replace(setting, model=changed).sample(prompt, seed, count)

    return sample


def _repelled(step: float) -> Sample:
    def sample(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
        changed = with_changed_layers(setting.model, repelled_context(step), range(4), 0.7)
        return replace(setting, model=changed).sample(prompt, seed, count)

    return sample


def _initial(seed: int, count: int) -> Tensor:
    """Initial noise of a batch of 64 x 64 pixels."""
    return torch.randn((count, 16, 8, 8), generator=torch.Generator().manual_seed(seed))


def _contrastive(rate: float) -> Sample:
    def sample(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
        noise = contrastive_noise(_initial(seed, count), one_step(setting.model, prompt), rate=rate)
        return setting.sample(prompt, seed, count, noise=noise)

    return sample


def _langevin(rate: float) -> Sample:
    def sample(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
        prompted, empty = one_step(setting.model, prompt), one_step(setting.model, "")
        generator = torch.Generator().manual_seed(seed + 1)
        noise = langevin_noise(_initial(seed, count), prompted, empty, rate, 10 * rate, generator)
        return setting.sample(prompt, seed, count, noise=noise)

    return sample


def _selected(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
    latents = torch.cat([setting.sample(prompt, 1000 * seed + part, count) for part in range(CANDIDATES)])
    features = RandomNetwork()(setting.model.decode(latents))
    return latents[most_different(squared_distances(features, features).sqrt(), count)]


def _silent_first(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
    until = float(simple_schedule(setting.steps)[1])
    return setting.sample(prompt, seed, count, PromptEasing(EasingSettings(silent_above=until)))


def _one_at_a_time(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
    """One run per image, each kept away from all before: a queue with a Memory Bank."""
    latents = setting.sample(prompt, count * seed, 1)
    for number in range(1, count):
        guidance = recommended(setting.cfg == 1, [ImageReferences(latents, LATENT_FORMAT, name="bank")])
        latents = torch.cat([latents, setting.sample(prompt, count * seed + number, 1, guidance)])
    return latents


def _base_first(steps: int) -> Sample:
    """Diversity distillation (arXiv 2503.10637): the base model makes the first estimates."""

    def sample(setting: Setting, prompt: str, seed: int, count: int) -> Tensor:
        until = float(simple_schedule(setting.steps)[steps - 1])
        networks = TwoModels(setting.base.transformer, setting.model.transformer, until)
        mixed = replace(setting.model, transformer=networks)
        return replace(setting, model=mixed).sample(prompt, seed, count)

    return sample
