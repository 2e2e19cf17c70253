"""The bank on disk: what is remembered comes back, in order, at every revision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import LatentFormatError, RevisionError
from diversity_guidance.stores.bank.shards import SHARD_BYTES
from torch import Tensor

Latents = Callable[..., Tensor]


def test_reading_a_bank_that_does_not_exist_makes_no_files(bank: MemoryBank, tmp_path: Path) -> None:
    assert bank.revision == 0
    assert len(bank.snapshot()) == len(bank.snapshot(0)) == 0
    assert bank.fingerprint() == MemoryBank(tmp_path, "other").fingerprint()
    assert bank.info().entries == 0
    assert bank.verify() == () and bank.repair().shards == 0
    assert bank.clear() == 0 and bank.vacuum().files == 0
    assert not list(tmp_path.iterdir())


def test_an_empty_batch_changes_nothing(bank: MemoryBank, latents: Latents, tmp_path: Path) -> None:
    assert bank.append(latents(0), latent_format="SD3").revision == 0
    assert not list(tmp_path.iterdir())


def test_latents_come_back_as_fp16_in_their_order(bank: MemoryBank, latents: Latents, tmp_path: Path) -> None:
    first, second = latents(3, seed=1), latents(2, seed=2)
    ids = bank.append(first, latent_format="SD3").ids + bank.append(second, latent_format="SD3").ids
    view = MemoryBank(tmp_path, "portraits").snapshot().matching("SD3", first.shape[1:])
    assert torch.equal(view.latents, torch.cat([first, second]).half())
    assert view.latents.is_contiguous() and view.latents.dtype == torch.float16
    assert view.ids == ids and view.left_out == 0


def test_what_belongs_to_a_picture_comes_back(bank: MemoryBank, latents: Latents) -> None:
    thumbnails = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).reshape(2, 4, 5, 3)
    clip, pooled = latents(2, shape=(7,)), latents(2, shape=(2, 3)).half()
    seed = 2**64 - 1
    result = bank.append(
        latents(2),
        latent_format="SD3",
        prompts=["a cat", None],
        seeds=[seed, 0],
        thumbnails=thumbnails,
        features={"clip": clip, "pooled": pooled},
    )
    bank.append(latents(1, seed=9), latent_format="SD3")
    snapshot = bank.snapshot()
    assert [(entry.prompt, entry.seed) for entry in snapshot.entries] == [("a cat", seed), (None, 0), (None, None)]
    assert snapshot.entries[0].created.endswith("+00:00")
    for space, expected in (("clip", clip), ("pooled", pooled)):
        ids, features = snapshot.features(space)
        assert ids == result.ids
        assert torch.equal(features, expected) and features.dtype == expected.dtype
    found = snapshot.thumbnails([entry.id for entry in snapshot.entries])
    assert list(found) == list(result.ids)
    assert torch.equal(torch.stack(list(found.values())), thumbnails)
    info = bank.info()
    assert info.spaces == {"clip": 2, "pooled": 2} and info.thumbnails == 2 and info.entries == 3


def test_thumbnails_of_several_sizes_live_side_by_side(bank: MemoryBank, latents: Latents) -> None:
    for seed, width in enumerate((4, 6)):
        thumbnail = torch.full((1, 4, width, 3), seed, dtype=torch.uint8)
        bank.append(latents(1, seed=seed), latent_format="SD3", thumbnails=thumbnail)
    snapshot = bank.snapshot()
    found = snapshot.thumbnails([snapshot.entries[1].id, "unknown"])
    assert [tuple(picture.shape) for picture in found.values()] == [(4, 6, 3)]
    assert len(snapshot.thumbnails(entry.id for entry in snapshot.entries)) == 2


def test_the_same_content_again_is_a_no_op(bank: MemoryBank, latents: Latents) -> None:
    first = bank.append(latents(3), latent_format="SD3")
    before = bank.fingerprint()
    files = sorted(bank.folder.rglob("*"))
    again = bank.append(latents(3).half().float(), latent_format="SD3", prompts="told differently")
    assert (again.added, again.duplicates, again.revision, again.ids) == (0, 3, first.revision, first.ids)
    assert bank.fingerprint() == before and sorted(bank.folder.rglob("*")) == files


def test_twins_within_a_batch_are_one_entry(bank: MemoryBank, latents: Latents) -> None:
    one, two = latents(2)
    result = bank.append(torch.stack([one, two, one]), latent_format="SD3")
    assert (result.added, result.duplicates) == (2, 1)
    assert [entry.id for entry in bank.snapshot().entries] == list(result.ids[:2])


def test_known_pictures_gain_what_they_lack(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(3), latent_format="SD3", features={"a": latents(3, shape=(5,))})
    clip = latents(2, shape=(7,))
    result = bank.append(
        latents(3)[1:], latent_format="SD3", features={"clip": clip, "a": latents(2, seed=4, shape=(5,))}
    )
    assert (result.added, result.duplicates, result.revision) == (0, 2, 2)
    ids, features = bank.snapshot().features("clip")
    assert ids == result.ids and torch.equal(features, clip)
    assert torch.equal(bank.snapshot().features("a")[1], latents(3, shape=(5,)))
    assert len(bank.snapshot(1).features("clip")[0]) == 0
    assert bank.append(latents(3)[1:], latent_format="SD3", features={"clip": clip}).revision == 2


def test_a_full_bank_evicts_its_oldest(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=3)
    ids = bank.append(latents(3), latent_format="SD3").ids
    result = bank.append(torch.cat([latents(3)[:1], latents(1, seed=5)]), latent_format="SD3")
    assert (result.added, result.duplicates, result.evicted) == (1, 1, 1)
    # The oldest is part of this very batch and stays; the next oldest leaves.
    assert [entry.id for entry in bank.snapshot().entries] == [ids[0], ids[2], result.ids[1]]
    assert bank.append(torch.cat([latents(3)[:1], latents(1, seed=5)]), latent_format="SD3").revision == result.revision


def test_a_batch_larger_than_the_bank_leaves_its_last(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=2)
    result = bank.append(latents(5), latent_format="SD3")
    assert (result.added, result.beyond_capacity, result.evicted) == (2, 3, 0)
    assert [entry.id for entry in bank.snapshot().entries] == list(result.ids[3:])
    again = bank.append(latents(5), latent_format="SD3")
    assert (again.added, again.duplicates, again.beyond_capacity, again.revision) == (0, 2, 3, result.revision)


def test_an_old_revision_is_reproduced_after_eviction_and_clearing(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=2)
    bank.append(latents(2), latent_format="SD3")
    digest = bank.snapshot().digest
    bank.append(latents(2, seed=1), latent_format="SD3")
    assert bank.clear() == 3 and bank.clear() == 3
    assert len(bank.snapshot()) == 0
    old = bank.snapshot(1)
    assert old.digest == digest and old.revision == 1
    assert torch.equal(old.matching("SD3", (4, 3, 2)).latents, latents(2).half())


def test_a_cleared_bank_takes_another_format(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(1), latent_format="SD3")
    bank.clear()
    bank.append(latents(1), latent_format="SDXL")
    assert bank.snapshot().latent_format == "SDXL" and bank.snapshot(1).latent_format == "SD3"


def test_vacuum_frees_what_no_kept_revision_needs(tmp_path: Path, latents: Latents) -> None:
    bank = MemoryBank(tmp_path, "small", capacity=3)
    for seed in range(6):
        bank.append(latents(1, seed=seed), latent_format="SD3")
    fingerprint = bank.fingerprint()
    kept = bank.vacuum(keep_from=5)
    assert (kept.entries, kept.files, kept.oldest_revision) == (2, 2, 5) and kept.freed > 0
    assert torch.equal(bank.snapshot(5).matching("SD3", (4, 3, 2)).latents[:1], latents(1, seed=2).half())
    with pytest.raises(RevisionError, match="Revision 4 was vacuumed away or evicted; the oldest that is left is 5"):
        bank.snapshot(4)
    everything = bank.vacuum()
    assert (everything.entries, everything.files, everything.oldest_revision) == (1, 1, 6)
    assert len(list((bank.folder / "shards").iterdir())) == 3
    assert bank.fingerprint() == fingerprint and bank.vacuum(keep_from=0).oldest_revision == 6


@pytest.mark.parametrize("revision", [2, -1])
def test_a_revision_that_is_not_there_is_refused(bank: MemoryBank, latents: Latents, revision: int) -> None:
    bank.append(latents(1), latent_format="SD3")
    with pytest.raises(RevisionError, match=f"Revision {revision} was asked for, but the bank is at revision 1"):
        bank.snapshot(revision)


def test_the_fingerprint_follows_the_history(bank: MemoryBank, latents: Latents, tmp_path: Path) -> None:
    twin = MemoryBank(tmp_path, "twin")
    seen = [bank.fingerprint()]
    for seed in range(3):
        for each in (bank, twin):
            each.append(latents(2, seed=seed), latent_format="SD3")
        seen.append(bank.fingerprint())
        assert twin.fingerprint() == seen[-1]
    bank.clear()
    assert len({*seen, bank.fingerprint()}) == 5


def test_another_latent_format_is_refused(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(1), latent_format="SD3")
    sentence = "The bank 'portraits' holds SD3 latents, but the latents to save are SDXL. Use another bank"
    with pytest.raises(LatentFormatError, match=sentence):
        bank.append(latents(1), latent_format="SDXL")
    assert bank.revision == 1


def test_features_of_a_space_keep_one_shape(bank: MemoryBank, latents: Latents) -> None:
    bank.append(latents(1), latent_format="SD3", features={"clip": latents(1, shape=(7,))})
    with pytest.raises(ValueError, match=r"space 'clip' have shape \(7,\), these have \(8,\)"):
        bank.append(latents(1, seed=1), latent_format="SD3", features={"clip": latents(1, shape=(8,))})
    assert bank.revision == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7e4])
def test_latents_that_cannot_be_stored_are_refused(bank: MemoryBank, latents: Latents, value: float) -> None:
    batch = latents(2)
    batch[1, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"^Latent 1 holds .* nothing was stored"):
        bank.append(batch, latent_format="SD3")
    assert not bank.folder.exists()


BAD_BATCHES = {
    "integers": lambda: {"latents": torch.zeros(1, 4, 2, 2, dtype=torch.int64)},
    "no batch": lambda: {"latents": torch.zeros(4)},
    "no values": lambda: {"latents": torch.zeros(2, 4, 0, 2)},
    "no tensor": lambda: {"latents": {"samples": torch.zeros(1, 4, 2, 2)}},
    "no format": lambda: {"latent_format": ""},
    "prompts": lambda: {"prompts": ["one"]},
    "seeds": lambda: {"seeds": [1, 2, 3]},
    "float thumbnails": lambda: {"thumbnails": torch.zeros(2, 4, 4, 3)},
    "grey thumbnails": lambda: {"thumbnails": torch.zeros(2, 4, 4, 1, dtype=torch.uint8)},
    "few features": lambda: {"features": {"clip": torch.zeros(1, 7)}},
    "nameless space": lambda: {"features": {"": torch.zeros(2, 7)}},
    "NaN features": lambda: {"features": {"clip": torch.full((2, 7), float("nan"))}},
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_batch_that_does_not_fit_together_is_refused(bank: MemoryBank, latents: Latents, case: str) -> None:
    arguments = {"latents": latents(2), "latent_format": "SD3", **BAD_BATCHES[case]()}
    with pytest.raises(ValueError, match=r"^[A-Z].* .*\.$"):
        bank.append(arguments.pop("latents"), **arguments)
    assert not bank.folder.exists()


def test_capacity_must_hold_something(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        MemoryBank(tmp_path, "none", capacity=0)


def test_prompts_are_data_not_sql(bank: MemoryBank, latents: Latents) -> None:
    prompt = "'); DROP TABLE entries; -- \0 ☃"
    bank.append(latents(1), latent_format="'; DELETE FROM parts", prompts=prompt)
    assert bank.snapshot().entries[0].prompt == prompt
    bank.append(latents(1, seed=1), latent_format="'; DELETE FROM parts", prompts="half \ud83d a pair")
    assert bank.snapshot().entries[1].prompt == "half ? a pair"


def test_a_large_append_is_split_into_shards(bank: MemoryBank) -> None:
    count = 3
    batch = torch.arange(count).reshape(count, 1, 1).expand(count, 1, SHARD_BYTES // 4).float()
    bank.append(batch, latent_format="SD3")
    assert len(list((bank.folder / "shards").iterdir())) == 2
    assert torch.equal(bank.snapshot().matching("SD3", batch.shape[1:]).latents, batch.half())


def test_videos_and_sound_are_latents_too(bank: MemoryBank, latents: Latents) -> None:
    shapes = [(4, 2, 3, 5), (4, 6), (4, 3, 2)]
    for seed, shape in enumerate(shapes):
        bank.append(latents(1, seed=seed, shape=shape), latent_format="Wan21")
    assert bank.info().shapes == dict.fromkeys(shapes, 1)
    view = bank.snapshot().matching("Wan21", shapes[0])
    assert torch.equal(view.latents, latents(1, seed=0, shape=shapes[0]).half()) and view.left_out == 2
