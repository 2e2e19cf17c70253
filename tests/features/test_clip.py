"""CLIP from a folder: a tiny model of random weights, saved the way open_clip saves one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diversity_guidance.features.content.clip import CONFIG_NAME, WEIGHTS_NAMES, Clip
from support.open_clip_files import DIMENSION, write_open_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("clip"))


def test_clip_measures_images_of_any_size(folder: Path) -> None:
    space = Clip(folder)
    images = torch.rand(3, 3, 50, 70, generator=torch.Generator().manual_seed(0), requires_grad=True)
    vectors = space(images)
    assert vectors.shape == (3, DIMENSION) == (3, space.dimension)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    vectors[:, 0].sum().backward()
    assert images.grad is not None and images.grad.any()
    assert Clip(folder).tag == space.tag


def test_other_weights_are_another_space(folder: Path, tmp_path: Path) -> None:
    assert Clip(write_open_clip(tmp_path, seed=1, weights="weights.safetensors")).tag != Clip(folder).tag


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no open_clip model: expected open_clip_config\.json"):
        Clip(tmp_path)


def test_a_pickle_beside_the_weights_is_never_opened(folder: Path, tmp_path: Path) -> None:
    """The library itself would take the pickle, since its name is one that it gives."""
    (tmp_path / CONFIG_NAME).write_bytes((folder / CONFIG_NAME).read_bytes())
    (tmp_path / "weights.safetensors").write_bytes((folder / WEIGHTS_NAMES[0]).read_bytes())
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"no pickle")
    assert Clip(tmp_path).tag == Clip(folder).tag


def test_of_several_weights_the_ones_that_the_library_has_named_are_read(folder: Path, tmp_path: Path) -> None:
    for name in (CONFIG_NAME, WEIGHTS_NAMES[0]):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"of another library")
    assert Clip(tmp_path).tag == Clip(folder).tag


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        ("text_cfg", {"hf_model_name": "some/model"}, "would be fetched from a model hub"),
        ("vision_cfg", {"timm_model_name": "hf-hub:some/model"}, "would be fetched from a model hub"),
        ("vision_cfg", {"width": 32}, "do not fit open_clip_config.json"),
        ("vision_cfg", None, "is no configuration of an open_clip model"),
    ],
)
def test_configurations_that_cannot_be_followed_are_refused(
    folder: Path, tmp_path: Path, part: str, change: dict[str, Any] | None, sentence: str
) -> None:
    config = json.loads((folder / CONFIG_NAME).read_text())
    if change is None:
        del config["model_cfg"][part]
    else:
        config["model_cfg"][part].update(change)
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))
    (tmp_path / WEIGHTS_NAMES[0]).write_bytes((folder / WEIGHTS_NAMES[0]).read_bytes())
    with pytest.raises(ValueError, match=sentence):
        Clip(tmp_path)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONFIG_NAME).write_text("{}")
    (tmp_path / "weights.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ValueError, match="pip install open_clip_torch"):
        Clip(tmp_path)
