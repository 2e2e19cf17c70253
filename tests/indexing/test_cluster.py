"""A build on a Ray cluster of this machine is the build of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from diversity_guidance.cli import main
from diversity_guidance.features.image_folder import find_images
from diversity_guidance.indexing import cluster
from diversity_guidance.indexing.encoders import FolderEncoding
from diversity_guidance.stores.protected.index import ProtectedIndex

pytest.importorskip("ray", reason='pip install "diversity-guidance[distributed]" brings Ray')


def test_the_same_index_as_in_one_process(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "MIN_FILES", 6)
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    assert main(["index", "build", str(alone), str(pictures), "--space", "layout"]) == 0
    # As a campaign leaves it that was stopped: one worker was done.
    work = FolderEncoding(pictures, "layout", 256, 16)
    first = find_images(pictures).paths[:6]
    repeated, _ = cluster.encode_part(cluster.part_folder(spread, first), work, first, frozenset())
    assert repeated == 0
    capsys.readouterr()
    assert main(["index", "build", str(spread), str(pictures), "--space", "layout", "--ray", "local"]) == 0
    # The copy, which another worker met than the picture itself.
    assert "10 images were added, 1 were known: 10 are protected. 2 could not be read." in capsys.readouterr().out
    assert ProtectedIndex.open(spread).fingerprint() == ProtectedIndex.open(alone).fingerprint()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "pictures", "spread"]
