"""A bank stays small on disk and in number of files."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank import bank as bank_module
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import RevisionError
from diversity_guidance.stores.bank.maintenance.space import SPARE_BYTES
from diversity_guidance.stores.bank.transaction import BankTransaction
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)


def files(bank: MemoryBank) -> list[Path]:
    return sorted((bank.folder / "shards").iterdir())


def taken(bank: MemoryBank) -> int:
    """Bytes of the bank's shards, as they lie there."""
    return sum(path.stat().st_size for path in files(bank))


@pytest.mark.parametrize("appends", [120, pytest.param(1000, marks=pytest.mark.campaign)])
def test_eviction_frees_disk(tmp_path: Path, latents: Latents, appends: int) -> None:
    """However many images come and whatever is pinned, the files take a fifth more than what is in the bank."""
    bank, chance = MemoryBank(tmp_path, "small", capacity=40), random.Random(0)
    most = 0.0
    for seed in range(appends):
        result = bank.append(latents(chance.randint(1, 6), seed=seed, shape=(4, 48, 48)), latent_format="Flux")
        if chance.random() < 0.1:
            bank.pin(result.ids[:1], pinned=True)
            held = [entry.id for entry in bank.snapshot().entries if entry.pinned]
            bank.pin(held[:-12], pinned=False)
        if result.evicted:
            info = bank.info()
            assert taken(bank) <= 1.2 * info.live_bytes + SPARE_BYTES
            most = max(most, taken(bank) / info.live_bytes)
    assert len(bank.snapshot()) == 40 and bank.verify() == ()
    assert bank.info().disk_bytes == taken(bank) + (bank.folder / "index.sqlite").stat().st_size
    sys.stdout.write(f"{appends} appends: files of at most {most:.2f} times the images\n")  # pytest -rP shows it


def test_an_eviction_that_fits_can_be_undone(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=10)
    for seed in range(14):
        bank.append(latents(1, seed=seed, shape=(4, 64, 64)), latent_format="Flux")
    before, oldest = bank.snapshot(13).digest, bank.info().oldest_revision
    assert oldest == 13 and bank.undo() == 15 and bank.snapshot().digest == before
    many = bank.append(latents(4, seed=99, shape=(4, 64, 64)), latent_format="Flux")
    assert many.forgotten >= many.evicted == 4
    with pytest.raises(RevisionError, match=r"cannot be undone\. Revision 15 was vacuumed away or evicted"):
        bank.undo()


def test_a_pinned_revision_stays(tmp_path: Path, latents: Latents) -> None:
    bank, shape = MemoryBank(tmp_path, "small", capacity=4), (4, 64, 64)
    bank.append(latents(2, shape=shape), latent_format="Flux")
    bank.append(latents(2, seed=1, shape=shape), latent_format="Flux")
    digest = bank.snapshot(1).digest
    bank.pin_revision(1)
    for seed in range(2, 9):
        bank.append(latents(2, seed=seed, shape=shape), latent_format="Flux")
    assert (bank.needs(1).entries, bank.needs(1).size, bank.needs(1).pinned) == (2, 2 * 4 * 64 * 64 * 2, True)
    info = bank.info()
    assert info.pinned_revisions == (1,) and info.oldest_revision == 9 == bank.vacuum().oldest_revision
    assert bank.snapshot(1).digest == digest and len(bank.snapshot(1).matching("Flux", shape)) == 2
    assert info.history_bytes == 2 * 4 * 64 * 64 * 2
    with pytest.raises(RevisionError, match=r"Revision 2 was vacuumed away or evicted.* Pinned are also 1\."):
        bank.pin_revision(2)
    assert taken(bank) <= 1.2 * (info.live_bytes + info.history_bytes) + SPARE_BYTES
    assert bank.restore(1) == 10 and bank.snapshot().digest == digest
    bank.pin_revision(1, pinned=False)
    bank.vacuum()
    assert bank.info().history_bytes == 0 and bank.info().pinned_revisions == ()
    with pytest.raises(RevisionError):
        bank.snapshot(1)
    bank.pin_revision(10)
    bank.vacuum()
    assert bank.info().oldest_revision == 10 and len(bank.snapshot(10)) == 2


def test_what_was_removed_by_hand_stays_until_the_bank_evicts(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=8)
    bank.append(latents(8, shape=(4, 64, 64)), latent_format="Flux")
    bank.clear()
    bank.append(latents(1, seed=1, shape=(4, 64, 64)), latent_format="Flux")
    assert bank.info().history_bytes == 8 * 4 * 64 * 64 * 2 == bank.needs(1).size
    assert bank.undo() == 4 and bank.undo() == 5 and len(bank.snapshot()) == 8


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
