"""A bank stays small on disk and in number of files, and the command line operates it."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from diversity_guidance.cli import main
from diversity_guidance.stores.bank import bank as bank_module
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.transaction import BankTransaction
from safetensors.torch import load_file
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)


def files(bank: MemoryBank) -> list[Path]:
    return sorted((bank.folder / "shards").iterdir())


def test_disk_that_eviction_frees(tmp_path: Path, latents: Latents) -> None:
    """As much again as a full bank stays for older revisions, and no more."""
    bank = MemoryBank(tmp_path, "small", capacity=8)
    sizes = []
    for seed in range(12):
        bank.append(latents(4, seed=seed), latent_format="Flux")
        sizes.append(sum(path.stat().st_size for path in files(bank)))
    assert max(sizes) == sizes[3] == sizes[-1] == 4 * sizes[0]
    assert bank.info().oldest_revision == 10 and len(bank.snapshot(10)) == 8
    assert bank.verify() == ()


def test_small_files_are_merged_by_themselves(
    bank: MemoryBank, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "MERGED_AT", 8)
    held = None
    for seed in range(30):
        shape = (4, 3, 2) if seed % 3 else (4, 2, 2)
        features = {"clip": latents(1, seed=seed, shape=(5,))} if seed % 2 else None
        bank.append(latents(1, seed=seed, shape=shape), latent_format="SD3", features=features)
        if seed == 5:
            held = bank.snapshot()
    assert len(files(bank)) < 16 and bank.verify() == () and len(bank.snapshot()) == 30
    view = bank.snapshot().matching("SD3", SHAPE)
    assert torch.equal(view.latents, torch.cat([latents(1, seed=seed) for seed in range(30) if seed % 3]).half())
    assert torch.equal(
        bank.snapshot().features("clip")[1], torch.cat([latents(1, seed=s, shape=(5,)) for s in range(1, 30, 2)])
    )
    # Its files are gone: what it holds is found where it lies now.
    assert held is not None
    assert torch.equal(held.matching("SD3", SHAPE).latents, view.latents[:4])
    assert len(bank.snapshot(3)) == 3


def test_a_merge_that_fails_leaves_the_bank_as_it_was(
    bank: MemoryBank, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        bank.append(latents(1, seed=seed), latent_format="SD3")
    before, fingerprint = files(bank), bank.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(BankTransaction, "drop_unused_shards", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(ValueError, match="free some space"):
            bank.compact()
    assert files(bank) == before and bank.verify() == ()
    assert bank.compact() == 3 and len(files(bank)) == 1 and bank.fingerprint() == fingerprint


def test_the_command_line_operates_a_bank(
    bank: MemoryBank,
    latents: Latents,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def say(*words: str, answer: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer + "\n"))
        code = main(["bank", *words])
        return code, "".join(capsys.readouterr())

    for seed in range(3):
        bank.append(latents(2, seed=seed), latent_format="SD3", prompts="a cat", seeds=seed)
    folder = str(bank.folder)
    code, told = say("list", str(tmp_path))
    assert code == 0 and "portraits: 6 images (SD3: 4 x 3 x 2), revision 3" in told and "in 3 files" in told
    assert say("verify", folder) == (0, "All 6 images of portraits are intact.\n")
    assert say("repair", folder) == (0, "Nothing is damaged.\n")
    assert "Type yes" in say("compact", folder, answer="no")[1] and len(files(bank)) == 3
    assert "3 small files merged" in say("compact", folder, answer="yes")[1] and len(files(bank)) == 1
    assert "6 latents were written" in say("export", folder, str(tmp_path / "out"))[1]
    exported = [load_file(path)["latents"] for path in (tmp_path / "out").iterdir()]
    assert sorted(float(latent.sum()) for latent in exported) == sorted(
        float(latent.sum()) for latent in bank.snapshot().matching("SD3", SHAPE).latents
    )
    with closing(sqlite3.connect(bank.folder / "index.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE parts SET row = 99 WHERE position = 1")
    code, told = say("verify", folder)
    assert code == 1 and "row 99 of latents is not in the file" in told
    assert "1 images were dropped, 5 are left" in say("repair", folder, "--yes")[1]
    (bank.folder / "notes.txt").write_text("the user's own")
    assert say("delete", folder)[0] == 0 and len(bank.snapshot()) == 5
    assert "notes.txt" in say("delete", folder, "--yes")[1] and (bank.folder / "notes.txt").exists()
    assert not (bank.folder / "index.sqlite").exists() and not files(bank)
    assert say("verify", folder)[0] == 2
