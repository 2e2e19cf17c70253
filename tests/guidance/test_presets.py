"""Presets: named settings for both kinds of runs, a factor on them, and the choice at the first evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from diversity_guidance.guidance.presets import (
    BALANCED,
    MAX_SILENT,
    PAPER,
    PRESETS,
    STRONG,
    SUBTLE,
    Preset,
    repellency_preset,
    vendi_preset,
)
from diversity_guidance.guidance.repellency.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.guidance.vendi.settings import VendiSettings

from .conftest import Driver, noise

METHODS: list[Any] = [(SparseRepellency, repellency_preset), (VendiGuidance, vendi_preset)]
by_method = pytest.mark.parametrize(("method", "preset"), METHODS, ids=["repellency", "vendi"])


@by_method
@pytest.mark.parametrize("distilled", [False, True])
def test_every_name_has_settings_and_neither_is_off(method: Any, preset: Any, distilled: bool) -> None:
    found = [preset(name, distilled) for name in PRESETS]
    assert len(set(found)) == len(found)
    assert not any(each.settings.is_off for each in found)
    with pytest.raises(ValueError, match=r'no preset "loud"\. Choose one of: subtle, balanced, strong'):
        preset("loud", distilled)


def test_presets_rise_and_balanced_is_the_default() -> None:
    for distilled in (False, True):
        radii = [repellency_preset(name, distilled).settings.radius for name in (SUBTLE, BALANCED, STRONG)]
        lengths = [vendi_preset(name, distilled).settings.strength for name in (SUBTLE, BALANCED, STRONG)]
        silences = [vendi_preset(name, distilled).silent for name in (SUBTLE, BALANCED, STRONG)]
        assert radii == sorted(radii) and lengths == sorted(lengths) and silences == sorted(silences)
    assert repellency_preset(BALANCED, False).settings == RepellencySettings()
    assert vendi_preset(BALANCED, False).settings == VendiSettings()
    assert vendi_preset(PAPER, True) == Preset(VendiSettings.paper())


@by_method
def test_the_factor(method: Any, preset: Any) -> None:
    named = preset(BALANCED, True)
    assert named.scaled(1.0) == named
    assert named.scaled(0.0).settings.is_off
    half = named.scaled(0.5)
    assert (half.settings.strength, half.silent) == (named.settings.strength / 2, named.silent / 2)
    assert named.scaled(10.0).silent == MAX_SILENT
    for factor in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="strength must be a number of at least 0"):
            named.scaled(factor)


def test_single_values_take_along_what_belongs_to_them() -> None:
    named = repellency_preset(BALANCED, True)
    assert named.silent > 0 and named.end < 1
    assert named.changed(cfg_easing=0.0).silent == 0
    assert named.changed(radius=0.1).end == 1
    assert named.changed(absolute_radius=3.0).end == 1
    assert (named.changed(overlap="outside").silent, named.changed(absolute_radius=0.0).end) == (
        named.silent,
        named.end,
    )


@by_method
def test_each_run_takes_the_settings_of_its_kind(method: Any, preset: Any, driver: Driver) -> None:
    with_cfg = preset(BALANCED, False).settings
    distilled = replace(with_cfg, strength=with_cfg.strength / 2, cfg_easing=0.0)
    guidance, denoised = method(with_cfg, distilled=distilled), noise(0, 3)
    other = noise(1, 3)
    for conditional, expected in ((other, with_cfg), (denoised, distilled), (other, with_cfg)):
        driver.begin(guidance)
        guidance(denoised, driver.step(denoised, conditional=conditional))
        assert guidance.settings == expected
        # Samplers may leave CFG out for some steps: the first one tells what kind of run it is.
        guidance(denoised, driver.step(denoised, conditional=denoised if conditional is other else other))
        assert guidance.settings == expected


@by_method
def test_one_kind_of_settings_serves_both(method: Any, preset: Any, driver: Driver) -> None:
    settings, denoised = preset(STRONG, False).settings, noise(0, 3)
    guidance = method(settings)
    driver.begin(guidance)
    guidance(denoised, driver.step(denoised))
    assert guidance.settings is settings
