"""The snapshot: an immutable value that reads lazily, extends in memory and survives caches and pickle."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from diversity_guidance.stores.bank import shards
from diversity_guidance.stores.bank import snapshot as bank_snapshot
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import LatentFormatError
from diversity_guidance.stores.bank.shards import Shard
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)


def test_an_empty_snapshot_fits_every_model() -> None:
    snapshot = BankSnapshot.empty("wire")
    view = snapshot.matching("SD3", SHAPE)
    assert tuple(view.latents.shape) == (0, *SHAPE) and len(view) == len(snapshot) == view.left_out == 0
    assert snapshot.latent_format is None and snapshot.thumbnails(["x"]) == {}
    assert snapshot.features("clip")[0] == ()


def test_another_latent_format_is_refused(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(1), latent_format="SD3")
    snapshot = bank.snapshot()
    with pytest.raises(LatentFormatError, match="holds SD3 latents, but the latents of this model are Flux"):
        snapshot.matching("Flux", SHAPE)
    with pytest.raises(LatentFormatError, match="the latents to save are Flux"):
        snapshot.extended(latents(1), latent_format="Flux")


def test_other_sizes_are_left_out_and_counted(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(2), latent_format="SD3")
    bank.append(latents(3, shape=(4, 2, 2)), latent_format="SD3")
    snapshot = bank.snapshot()
    assert (len(snapshot.matching("SD3", SHAPE)), snapshot.matching("SD3", SHAPE).left_out) == (2, 3)
    assert snapshot.matching("SD3", (4, 9, 9)).left_out == 5


def test_tensors_are_read_once_and_only_when_needed(
    bank: MemoryBank, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.append(latents(2), latent_format="SD3")
    reads: list[Shard] = []
    read = shards.read_shard

    def counted(shard: Shard) -> dict[str, Tensor]:
        reads.append(shard)
        return read(shard)

    monkeypatch.setattr(shards, "read_shard", counted)
    assert bank.fingerprint() and bank.info()
    snapshot = bank.snapshot()
    assert snapshot.digest and not reads
    assert snapshot.matching("SD3", SHAPE) is snapshot.matching("SD3", torch.Size(SHAPE))
    assert len(reads) == 1


def test_a_snapshot_does_not_see_later_appends(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(1), latent_format="SD3")
    snapshot = bank.snapshot()
    bank.append(latents(1, seed=1), latent_format="SD3")
    bank.clear()
    assert torch.equal(snapshot.matching("SD3", SHAPE).latents, latents(1).half())


def test_extending_leaves_the_original_alone(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(2), latent_format="SD3")
    base = bank.snapshot()
    longer = base.extended(latents(2, seed=1), latent_format="SD3", prompts="wired", seeds=[7, 8])
    assert (len(base), len(longer), bank.revision) == (2, 4, 1)
    assert longer.revision == 2 and longer.entries[3].seed == 8 and longer.entries[3].prompt == "wired"
    assert torch.equal(longer.matching("SD3", SHAPE).latents, torch.cat([latents(2), latents(2, seed=1)]).half())
    assert longer.extended(latents(2), latent_format="SD3") is longer
    assert BankSnapshot.empty().extended(latents(0), latent_format="SD3").latent_format is None


def test_in_memory_and_on_disk_agree(bank: MemoryBank, latents: Latents) -> None:
    clip = latents(3, shape=(7,))
    bank.append(latents(3), latent_format="SD3")
    bank.append(latents(3), latent_format="SD3", features={"clip": clip})
    wired = BankSnapshot.empty("portraits").extended(latents(3), latent_format="SD3")
    richer = wired.extended(latents(3), latent_format="SD3", features={"clip": clip})
    stored = bank.snapshot()
    assert richer.digest == wired.digest == stored.digest
    assert [entry.id for entry in richer.entries] == [entry.id for entry in stored.entries]
    assert torch.equal(richer.features("clip")[1], stored.features("clip")[1])
    assert len(wired.features("clip")[0]) == 0
    with pytest.raises(ValueError, match="space 'clip' have shape"):
        richer.extended(latents(1, seed=5), latent_format="SD3", features={"clip": latents(1, shape=(8,))})


def test_a_snapshot_owns_what_it_remembers(latents: Latents) -> None:
    batch = latents(1)
    snapshot = BankSnapshot.empty().extended(batch, latent_format="SD3")
    batch.zero_()
    assert torch.equal(snapshot.matching("SD3", SHAPE).latents, latents(1).half())


def test_digest_depends_on_content_and_order(latents: Latents) -> None:
    def digest(*seeds: int, latent_format: str = "SD3") -> str:
        snapshot = BankSnapshot.empty()
        for seed in seeds:
            snapshot = snapshot.extended(latents(1, seed=seed), latent_format=latent_format)
        return snapshot.digest

    assert digest(1, 2) == digest(1, 2, 1)
    assert len({digest(), digest(1), digest(2), digest(1, 2), digest(2, 1), digest(1, latent_format="SDXL")}) == 6


def test_shape_is_part_of_the_identity(latents: Latents) -> None:
    flat = latents(1, shape=(4, 6))
    snapshot = BankSnapshot.empty().extended(flat, latent_format="SD3")
    assert len(snapshot.extended(flat.reshape(1, 4, 3, 2), latent_format="SD3")) == 2


def test_survives_pickle_without_its_cache(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(2), latent_format="SD3")
    snapshot = bank.snapshot().extended(latents(1, seed=1), latent_format="SD3")
    expected = snapshot.matching("SD3", SHAPE).latents
    copy = pickle.loads(pickle.dumps(snapshot))
    assert copy == snapshot and hash(copy) == hash(snapshot)
    assert copy.get_ram_usage() < snapshot.get_ram_usage()
    assert torch.equal(copy.matching("SD3", SHAPE).latents, expected)


def test_ram_usage_counts_tensors_in_memory(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(2), latent_format="SD3")
    snapshot = bank.snapshot()
    before = snapshot.get_ram_usage()
    view = snapshot.matching("SD3", SHAPE)
    assert before == 2 * bank_snapshot.ENTRY_BYTES
    assert snapshot.get_ram_usage() == before + view.latents.untyped_storage().nbytes()
    wired = BankSnapshot.empty().extended(latents(2), latent_format="SD3")
    assert wired.get_ram_usage() == before + view.latents.nbytes


def test_what_is_made_inside_inference_mode_takes_gradients_outside(bank: MemoryBank) -> None:
    with torch.inference_mode():
        batch = torch.ones(1, *SHAPE)
        bank.append(batch, latent_format="SD3", features={"clip": torch.ones(1, 7)})
        snapshot = bank.snapshot().extended(2 * batch, latent_format="SD3")
        view = snapshot.matching("SD3", SHAPE)
        clip = snapshot.features("clip")[1]
        empty = snapshot.matching("SD3", (1, 1, 1))
    assert not any(tensor.is_inference() for tensor in (view.latents, clip, empty.latents))
    estimate = torch.zeros(1, *SHAPE, requires_grad=True)
    (view.latents.float() * estimate).sum().backward()
    assert estimate.grad is not None


def test_latents_in_memory_are_not_read_again(
    bank: MemoryBank, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue adds a few images to many: the next one reads these few, as long as the host holds the last snapshot."""
    read, reads = shards.read_shard, []
    monkeypatch.setattr(shards, "read_shard", lambda shard: reads.append(shard) or read(shard))
    expected = torch.cat([latents(2, seed=seed) for seed in range(4)]).half()
    for seed in range(3):
        bank.append(latents(2, seed=seed), latent_format="SD3")
    held = bank.snapshot()
    held.matching("SD3", SHAPE)
    bank.append(latents(2, seed=3), latent_format="SD3")
    bank.remove([held.entries[1].id])
    reads.clear()
    held = bank.snapshot()
    view = held.matching("SD3", SHAPE)
    assert torch.equal(view.latents, torch.cat([expected[:1], expected[2:]])) and len(reads) == 1
    assert pickle.loads(pickle.dumps(held)).digest == held.digest
    del held, view
    reads.clear()
    assert torch.equal(bank.snapshot().matching("SD3", (4, 3, 2)).latents[0], expected[0]) and len(reads) == 4
