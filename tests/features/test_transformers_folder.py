"""CLIP, SigLIP and DINOv2 from folders: tiny models of random weights, saved the way transformers saves them."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diversity_guidance.features.content.transformers_folder import TransformersVision, is_vision_folder
from diversity_guidance.features.named import image_space
from support.transformers_files import KINDS, write_transformers


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_transformers(tmp_path_factory.mktemp(request.param), request.param)


def no_network(*_: Any) -> None:
    raise AssertionError("nothing may be fetched")


def test_a_folder_is_a_feature_space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert is_vision_folder(folder)
    space = TransformersVision(folder)
    images = torch.rand(3, 3, 50, 70, generator=torch.Generator().manual_seed(0), requires_grad=True)
    vectors = space(images)
    assert vectors.shape == (3, space.dimension)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    vectors[:, 0].sum().backward()
    assert images.grad is not None and images.grad.any()
    assert image_space(f"clip:{folder}").tag == space.tag


def test_it_says_what_the_library_says(tmp_path: Path) -> None:
    """Of an image that needs no scaling, normalised as the folder tells."""
    transformers = pytest.importorskip("transformers")
    write_transformers(tmp_path, "clip")
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(statistics))
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, spread = (torch.tensor(statistics[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    whole = transformers.CLIPModel.from_pretrained(tmp_path, local_files_only=True).eval()
    with torch.no_grad():
        towers = whole.vision_model(pixel_values=(image - mean) / spread).pooler_output
        expected = torch.nn.functional.normalize(whole.visual_projection(towers), dim=1)
    torch.testing.assert_close(TransformersVision(tmp_path)(image), expected)


def test_other_weights_are_another_space(tmp_path: Path) -> None:
    first, second = (write_transformers(tmp_path / str(seed), "dinov2", seed) for seed in (0, 1))
    assert TransformersVision(first).tag != TransformersVision(second).tag


def test_a_pickle_and_code_beside_the_configuration_are_never_opened(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise AssertionError('was run')")
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle")
    assert not is_vision_folder(tmp_path)
    with pytest.raises(ValueError, match=r"expected config\.json and model\.safetensors"):
        TransformersVision(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert TransformersVision(tmp_path).tag == TransformersVision(folder).tag


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "bert"}, r"holds no CLIP, SigLIP or DINOv2 model"),
        ({"num_hidden_layers": 3}, r"do not fit config\.json beside them"),
        ({"hidden_size": "many"}, r"cannot be loaded"),
    ],
)
def test_configurations_that_cannot_be_followed_are_refused(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    write_transformers(tmp_path, "dinov2")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=sentence):
        TransformersVision(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert not is_vision_folder(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json"):
        TransformersVision(tmp_path)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_transformers(tmp_path, "dinov2")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="pip install transformers"):
        TransformersVision(tmp_path)


def test_a_folder_of_both_libraries_is_read_by_the_one_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_transformers(tmp_path, "clip")
    (tmp_path / "open_clip_config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert image_space(f"clip:{tmp_path}").tag == TransformersVision(tmp_path).tag
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="pip install open_clip_torch"):
        image_space(f"clip:{tmp_path}")
