"""Centroids on disk and blended."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.centroid.blend import blended, check_comparable
from diversity_guidance.stores.centroid.centroid import FeatureCentroid, ModelFingerprint, OtherModelError
from diversity_guidance.stores.centroid.noise import FeatureNoise
from safetensors.torch import load, save, save_file


def centroid(
    value: float = 1.0, name: str = "a", model: int = 0, levels: int = 2, layer: str = "b", latent_format: str = "SD3"
) -> FeatureCentroid:
    weights = torch.randn(50, generator=torch.Generator().manual_seed(model))
    mean = torch.full((levels, 3), value)
    sigmas = torch.linspace(1, 0.5, levels)
    fingerprint = ModelFingerprint("Net|b", weights)
    variation = {layer: value * torch.eye(2, 3)}
    return FeatureCentroid(
        name, fingerprint, latent_format, sigmas, {layer: mean}, {layer: 0.5 * mean.abs()}, 8, variation
    )


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    original = centroid(name="grüße")
    original.save(tmp_path / "made" / "one.safetensors")
    loaded = FeatureCentroid.load(tmp_path / "made" / "one.safetensors")
    assert loaded.digest == original.digest
    assert torch.equal(loaded.spreads["b"], original.spreads["b"])
    assert torch.equal(loaded.variation("b"), original.variation("b"))
    assert (loaded.name, loaded.images, loaded.latent_format) == ("grüße", 8, "SD3")
    assert loaded.fingerprint.matches(original.fingerprint)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["one.safetensors"]


def test_files_that_are_no_centroid(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no centroid 'none'"):
        FeatureCentroid.load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="'bad' is damaged"):
        FeatureCentroid.load(tmp_path / "bad.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no centroid"):
        FeatureCentroid.load(tmp_path / "other.safetensors")


def test_every_damaged_file_is_told(tmp_path: Path) -> None:
    """Pieces that are missing, of another shape or type, or not finite; a link, a pipe or a file without an end."""
    path = tmp_path / "one.safetensors"
    centroid().save(path)
    data = path.read_bytes()
    tensors, size = load(data), int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    told = []

    def refuse(why: str) -> None:
        with pytest.raises(ValueError, match=rf"^The (centroid|file of) 'one' .*({why})") as caught:
            FeatureCentroid.load(path)
        told.append(str(caught.value))

    for name, tensor in tensors.items():
        for changed in (None, tensor[:0], tensor.long(), tensor * float("nan"), tensor[None], tensor[0]):
            rest = {key: value for key, value in tensors.items() if key != name}
            rest |= {} if changed is None else {name: changed.contiguous()}
            if name.startswith("variation") and (changed is None or not len(changed)):
                continue  # a single image has none
            path.write_bytes(save(rest, metadata))
            refuse("damaged")
    for key in ("layers", "pictures", "architecture", "format", "name", "latent_format"):
        path.write_bytes(save(tensors, {other: text for other, text in metadata.items() if other != key}))
        refuse("damaged|holds no centroid")
    for layers in ("7", "{", '["x"]', "[7]", "null"):
        path.write_bytes(save(tensors, {**metadata, "layers": layers}))
        refuse("damaged")
    for length in (0, 7, 8, 100, len(data) - 1):
        path.write_bytes(data[:length])
        refuse("damaged")
    with path.open("wb") as file:
        file.truncate(8 * 2**30)
    refuse("more than the limit of")
    if hasattr(os, "mkfifo"):
        path.unlink()
        os.mkfifo(path)
        refuse("a pipe")
        path.unlink()
        path.symlink_to("/dev/zero")
        refuse("a link")
    assert len(told) > 30


def test_a_centroid_that_is_loaded_can_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part of it stays mapped: Windows replaces no file that is; and a kill in between leaves the old one."""
    path = tmp_path / "one.safetensors"
    centroid(1.0).save(path)
    loaded = FeatureCentroid.load(path)
    if Path("/proc/self/maps").exists():
        assert path.name not in Path("/proc/self/maps").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            centroid(2.0).save(path)
    assert FeatureCentroid.load(path).digest == loaded.digest and [p.name for p in tmp_path.iterdir()] == [path.name]
    centroid(2.0).save(path)
    assert float(loaded.means["b"][0, 0]) == 1.0 and float(FeatureCentroid.load(path).means["b"][0, 0]) == 2.0


def test_a_blend_lies_between_or_beyond() -> None:
    one, two = centroid(1.0), centroid(3.0)
    assert torch.allclose(blended([one, two], [0.5, 0.5], "m").means["b"], torch.full((2, 3), 2.0))
    assert torch.allclose(blended([one, two], [3.0, 1.0], "m").means["b"], torch.full((2, 3), 1.5))
    assert torch.allclose(blended([one, two], [-0.5, 1.5], "m").means["b"], torch.full((2, 3), 4.0))
    assert torch.allclose(blended([one], [2.0], "m").means["b"], one.means["b"])


def test_a_blend_varies_as_its_parts_do_on_average() -> None:
    one, two = centroid(1.0), centroid(3.0)
    rows = blended([one, two], [-0.5, 1.5], "m").variation("b")
    assert torch.allclose(rows.T @ rows, torch.diag(torch.tensor([1.0, 1.0, 0.0])) * (0.25 * 1 + 0.75 * 9))


def test_a_single_picture_varies_in_nothing(tmp_path: Path) -> None:
    alone = replace(centroid(), variations={})
    alone.save(tmp_path / "alone.safetensors")
    assert FeatureCentroid.load(tmp_path / "alone.safetensors").variation("b").shape == (0, 3)
    with pytest.raises(ValueError, match="variations of b do not fit"):
        replace(alone, variations={"b": torch.zeros(1, 4)})


def test_a_file_keeps_what_noise_does(tmp_path: Path) -> None:
    noise = FeatureNoise(torch.eye(2, 3) / 2**0.5, torch.tensor([2.0, 1.0]))
    replace(centroid(), noises={"b": noise}).save(tmp_path / "one.safetensors")
    loaded = FeatureCentroid.load(tmp_path / "one.safetensors").noise("b")
    assert torch.equal(loaded.rows, noise.rows)
    assert torch.equal(loaded.sizes, noise.sizes)
    centroid().save(tmp_path / "earlier.safetensors")
    assert not len(FeatureCentroid.load(tmp_path / "earlier.safetensors").noise("b").rows)
    with pytest.raises(ValueError, match="noise of b does not fit"):
        replace(centroid(levels=3), noises={"b": noise})


def test_the_covariance_of_noise_at_every_level() -> None:
    """What all pictures share is of the common noise; directions are pooled over the levels, sizes are not."""
    generator = torch.Generator().manual_seed(4)
    spread = torch.tensor([3.0, 1.0, 0.0])
    deviations = torch.randn(2, 2000, 3, generator=generator) * spread * torch.tensor([5.0, 1.0])[:, None, None] + 7
    noise = FeatureNoise.of(deviations)
    covariance = noise.rows.T @ noise.rows
    assert float(covariance.trace()) == pytest.approx(1, rel=1e-4)
    assert torch.allclose(covariance, torch.diag(torch.tensor([0.9, 0.1, 0.0])), atol=0.02)
    assert torch.allclose(noise.sizes, 10**0.5 * torch.tensor([5.0, 1.0]), rtol=0.05)
    assert not len(FeatureNoise.of(deviations[:, :1]).rows)


def test_a_blend_is_as_noisy_as_its_parts_on_average() -> None:
    noises = [FeatureNoise(torch.eye(3)[[at]], torch.tensor([size, 1.0])) for at, size in enumerate((1.0, 2.0))]
    parts = [replace(centroid(), noises={"b": noise}) for noise in noises]
    noise = blended(parts, [0.5, 0.5], "m").noise("b")
    assert torch.allclose(noise.rows.T @ noise.rows, torch.diag(torch.tensor([0.5, 0.5, 0.0])))
    assert torch.allclose(noise.sizes, torch.tensor([2.5**0.5, 1.0]))
    assert not len(blended([parts[0], centroid()], [0.5, 0.5], "m").noise("b").rows)
    assert len(blended([parts[0], centroid()], [1.0, 0.0], "m").noise("b").rows)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_weights_that_make_no_mean(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="sum is not 0"):
        blended([centroid(), centroid(2.0)], weights, "m")


def test_as_many_weights_as_centroids() -> None:
    with pytest.raises(ValueError, match="2 centroids and 1 weights"):
        blended([centroid(), centroid()], [1.0], "m")


def test_centroids_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="at least one"):
        check_comparable([])
    with pytest.raises(OtherModelError, match="read from another model"):
        check_comparable([centroid(), centroid(model=1)])
    with pytest.raises(OtherModelError, match="SD3 latents"):
        check_comparable([centroid(), centroid(latent_format="Flux")])
    with pytest.raises(ValueError, match="hold other layers"):
        check_comparable([centroid(), centroid(layer="c")])
    with pytest.raises(ValueError, match="hold other noise levels"):
        check_comparable([centroid(), centroid(levels=3)])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        centroid(value)


def test_noise_levels_must_descend() -> None:
    good = centroid()
    with pytest.raises(ValueError, match="the highest first"):
        FeatureCentroid("x", good.fingerprint, "SD3", good.sigmas.flip(0), good.means, good.spreads, 1)
    with pytest.raises(ValueError, match="do not fit its 1 noise levels"):
        FeatureCentroid("x", good.fingerprint, "SD3", good.sigmas[:1], good.means, good.spreads, 1)
