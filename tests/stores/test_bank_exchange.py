"""A bank as one file: what comes out elsewhere is what went in, and anything else is refused in a sentence."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.entries import content_id
from diversity_guidance.stores.bank.errors import BankDamagedError, BankWriteError, LatentFormatError
from diversity_guidance.stores.bank.exchange import layout, reader, writer
from diversity_guidance.stores.bank.exchange.layout import ArchiveError
from diversity_guidance.stores.bank.exchange.reader import open_archive
from diversity_guidance.stores.bank.exchange.writer import export_bank
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from diversity_guidance.stores.encoders import EncoderError
from safetensors.torch import load_file
from torch import Tensor

Latents = Callable[..., Tensor]
SHAPE = (4, 3, 2)
LONG_PROMPT = "a cat, " * 15_000
"""More than 100,000 characters."""


@pytest.fixture
def varied(bank: MemoryBank, latents: Latents) -> MemoryBank:
    """Two sizes of latents and of previews, features of two kinds, prompts and seeds of every length, pins."""
    for seed in range(9):
        extras = {
            "thumbnails": torch.full((2, 2, 3 + seed % 2, 3), seed, dtype=torch.uint8) if seed % 3 else None,
            "features": {"clip": latents(2, seed=seed, shape=(5,)), "half": latents(2, seed=seed, shape=(2, 2)).half()}
            if seed % 4
            else None,
        }
        bank.append(
            latents(2, seed=seed, shape=SHAPE if seed % 5 else (4, 2, 2)),
            latent_format="SD3",
            prompts=[LONG_PROMPT if seed == 3 else "eine Katze ☃", None],
            seeds=[2**64 - 1 - seed, None],
            encoder="ab12",
            **extras,
        )
    bank.pin([entry.id for entry in bank.snapshot().entries[2:5]])
    bank.remove([bank.snapshot().entries[7].id])
    return bank


def taken_in(bank: MemoryBank, path: Path) -> int:
    archive = open_archive(path)
    return bank.take_in(archive.batches(), archive.latent_format, archive.encoder, archive.digest).added


def test_two_machines_exchange_a_bank(varied: MemoryBank, tmp_path: Path, latents: Latents) -> None:
    """A folder for each; nothing but the file goes from one to the other, and back."""
    path = tmp_path / "portraits.safetensors"
    result = export_bank(varied.snapshot(), path)
    assert result == (17, path.stat().st_size)
    theirs = MemoryBank(tmp_path / "another machine", "gift", capacity=30)
    assert taken_in(theirs, path) == 17 and theirs.revision == 1 and theirs.verify() == ()
    ours, got = varied.snapshot(), theirs.snapshot()
    assert got.digest == ours.digest and got.encoder == "ab12"
    facts = [
        [(each.id, each.prompt, each.seed, each.created, each.pinned, each.shape) for each in snapshot.entries]
        for snapshot in (ours, got)
    ]
    assert facts[0] == facts[1]
    for shape in (SHAPE, (4, 2, 2)):
        assert torch.equal(got.matching("SD3", shape).latents, ours.matching("SD3", shape).latents)
    for space in ("clip", "half"):
        assert got.features(space)[0] == ours.features(space)[0]
        assert torch.equal(got.features(space)[1], ours.features(space)[1])
        assert got.features(space)[1].dtype == ours.features(space)[1].dtype
    previews = [snapshot.thumbnails(entry.id for entry in ours.entries) for snapshot in (ours, got)]
    assert previews[0].keys() == previews[1].keys()
    assert all(torch.equal(preview, previews[1][name]) for name, preview in previews[0].items())
    # Taken in again, nothing changes; undone, nothing is left; and it can go back, changed.
    assert taken_in(theirs, path) == 0 and theirs.revision == 1
    assert theirs.undo() == 2 and len(theirs.snapshot()) == 0
    assert taken_in(theirs, path) == 17
    theirs.append(latents(1, seed=77), latent_format="SD3", encoder="ab12")
    export_bank(theirs.snapshot(), path)
    assert taken_in(varied, path) == 1 and varied.revision == 11


def test_an_import_gives_known_images_what_they_lack(tmp_path: Path, latents: Latents) -> None:
    first, second = MemoryBank(tmp_path, "first"), MemoryBank(tmp_path, "second")
    first.append(latents(3), latent_format="SD3", features={"clip": latents(3, shape=(5,))})
    second.append(latents(3), latent_format="SD3")
    export_bank(first.snapshot(), tmp_path / "x.safetensors")
    assert taken_in(second, tmp_path / "x.safetensors") == 0 and second.revision == 2
    assert torch.equal(second.snapshot().features("clip")[1], latents(3, shape=(5,)))


def test_the_file_is_safetensors_and_exports_of_one_bank_are_equal(varied: MemoryBank, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        export_bank(varied.snapshot(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    tensors = load_file(paths[0])
    ours = varied.snapshot().matching("SD3", SHAPE)
    (found,) = (value for name, value in tensors.items() if name.startswith("latents:") and value.shape[1:] == SHAPE)
    assert torch.equal(found, ours.latents)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_an_earlier_revision_and_a_bank_on_a_wire_are_exported(
    varied: MemoryBank, tmp_path: Path, latents: Latents
) -> None:
    other = MemoryBank(tmp_path, "other")
    export_bank(varied.snapshot(2), tmp_path / "x.safetensors")
    assert taken_in(other, tmp_path / "x.safetensors") == 4 and other.snapshot().digest == varied.snapshot(2).digest
    export_bank(BankSnapshot.empty().extended(latents(2), latent_format="SD3"), tmp_path / "x.safetensors")
    assert len(open_archive(tmp_path / "x.safetensors").images) == 2
    export_bank(BankSnapshot.empty(), tmp_path / "x.safetensors")
    assert open_archive(tmp_path / "x.safetensors").images == ()


def test_an_export_follows_a_bank_that_is_merged_meanwhile(
    varied: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, read, reads = varied.snapshot(), writer.read_shard, []

    def merged_meanwhile(shard: object) -> dict[str, Tensor]:
        reads.append(shard)
        if len(reads) == 2:
            varied.compact()
        return read(shard)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "read_shard", merged_meanwhile)
    export_bank(snapshot, tmp_path / "x.safetensors")
    assert open_archive(tmp_path / "x.safetensors").digest == snapshot.digest
    assert taken_in(MemoryBank(tmp_path, "other"), tmp_path / "x.safetensors") == 17


def test_another_vae_and_another_format_are_refused(varied: MemoryBank, tmp_path: Path, latents: Latents) -> None:
    path = tmp_path / "x.safetensors"
    export_bank(varied.snapshot(), path)
    for name, latent_format, encoder, error in (
        ("vae", "SD3", "cd34", EncoderError),
        ("format", "Flux", "", LatentFormatError),
    ):
        bank = MemoryBank(tmp_path, name)
        bank.append(latents(1), latent_format=latent_format, encoder=encoder)
        with pytest.raises(error, match=r"Use another bank"):
            taken_in(bank, path)
        assert bank.revision == 1 and len(list((bank.folder / "shards").iterdir())) == 1


@pytest.mark.parametrize("part", [0, 3, 9, 100, "half", "all but one"])
def test_a_file_that_is_cut_short_is_refused(varied: MemoryBank, tmp_path: Path, part: int | str) -> None:
    path = tmp_path / "x.safetensors"
    export_bank(varied.snapshot(), path)
    data = path.read_bytes()
    length = {"half": len(data) // 2, "all but one": len(data) - 1}.get(str(part), part)
    path.write_bytes(data[: int(length)])
    with pytest.raises(ArchiveError, match=r"cut short|cannot be imported: .*\.$"):
        open_archive(path)


def test_a_changed_byte_anywhere_is_refused(varied: MemoryBank, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    export_bank(varied.snapshot(), path)
    data = path.read_bytes()
    for place in (*range(0, 3000, 97), *range(3000, len(data), len(data) // 40), len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ArchiveError):
            open_archive(path)


def test_a_newer_version_is_refused(varied: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "VERSION", 2)
    export_bank(varied.snapshot(), tmp_path / "x.safetensors")
    with pytest.raises(ArchiveError, match=r"of version 2, and this version of the pack reads 1\. Update the pack\."):
        open_archive(tmp_path / "x.safetensors")


def forged(path: Path, change: Callable[[dict], object]) -> None:
    """Change the table of images of an export, with a checksum that is right."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    described = json.loads(data[8 : 8 + length])
    metadata = described.pop("__metadata__")
    begin, end = described["entries"]["data_offsets"]
    body = data[8 + length :]
    table = json.loads(body[begin:end])
    change(table)
    text = json.dumps(table).encode()
    blocks = [
        layout.Block(name, each["dtype"], each["shape"], each["data_offsets"][1] - each["data_offsets"][0])
        for name, each in described.items()
        if name != "entries"
    ] + [layout.Block("entries", "U8", (len(text),), len(text))]
    metadata[layout.CHECKSUM] = layout.NO_CHECKSUM
    head = layout.header(blocks, metadata)
    whole = head + body[:begin] + text
    place = layout.checksum_place(head, layout.NO_CHECKSUM)
    path.write_bytes(whole[:place] + hashlib.sha256(whole).hexdigest().encode() + whole[place + 64 :])


FORGERIES: dict[str, Callable[[dict], object]] = {
    "no images": lambda table: table.pop("images"),
    "a row beyond": lambda table: table["images"][0]["parts"].update(latents=["latents:0", 10**9]),
    "a row of text": lambda table: table["images"][0]["parts"].update(latents=["latents:0", "x"]),
    "an unknown tensor": lambda table: table["images"][0]["parts"].update(latents=["x", 0]),
    "an unknown part": lambda table: table["images"][0]["parts"].update(pickle=["latents:0", 0]),
    "no latents": lambda table: table["images"][0]["parts"].pop("latents"),
    "the table as latents": lambda table: table["images"][0]["parts"].update(latents=["entries", 0]),
    "a preview of latents": lambda table: table["images"][1]["parts"].update(thumbnails=["latents:0", 0]),
    "a preview that is no image": lambda table: table["images"][1]["parts"].update(thumbnails=["entries", 0]),
    "another id": lambda table: table["images"][0].update(id="0" * 64),
    "an id that is a path": lambda table: table["images"][0].update(id="../../x"),
    "an image twice": lambda table: table["images"].append(table["images"][0]),
    "a prompt beyond": lambda table: table["images"][0].update(prompt=99),
    "a prompt of numbers": lambda table: table["prompts"].__setitem__(0, 7),
    "a seed of text": lambda table: table["images"][0].update(seed="many"),
    "a list": lambda table: table.update(images=7),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_what_no_bank_writes_is_refused(varied: MemoryBank, tmp_path: Path, case: str) -> None:
    path, bank = tmp_path / "x.safetensors", MemoryBank(tmp_path, "other")
    export_bank(varied.snapshot(), path)
    forged(path, lambda table: None)
    assert len(open_archive(path).images) == 17
    forged(path, FORGERIES[case])
    with pytest.raises(ArchiveError, match=r"cannot be imported: .*\.$"):
        taken_in(bank, path)
    assert bank.revision == 0 and list((bank.folder / "shards").glob("*")) == []


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data in (b"", b"\x80\x04cposix\nsystem\n(S'touch pwned'\ntR.", b"\xff" * 100, struct.pack("<Q", 2) + b"{}"):
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match="cannot be imported"):
            open_archive(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a file"):
        open_archive(path)


def test_an_export_that_fails_leaves_the_old_file(
    varied: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"the old one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "require_room", full)
        with pytest.raises(BankWriteError, match=r"x\.safetensors could not be written.*free some space"):
            export_bank(varied.snapshot(), path)
    with pytest.raises(BankWriteError, match="could not be written"):
        export_bank(varied.snapshot(), tmp_path / "nowhere" / "x.safetensors")
    snapshot = varied.snapshot()
    next((varied.folder / "shards").iterdir()).write_bytes(b"")
    with pytest.raises(BankDamagedError, match="bank repair"):
        export_bank(snapshot, path)
    assert path.read_bytes() == b"the old one" and sorted(each.name for each in tmp_path.iterdir()) == [
        "portraits",
        path.name,
    ]


def test_an_import_that_fails_leaves_the_bank(
    varied: MemoryBank, tmp_path: Path, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, bank = tmp_path / "x.safetensors", MemoryBank(tmp_path, "other")
    bank.append(latents(1), latent_format="SD3")
    export_bank(varied.snapshot(), path)
    row, rows = reader._row, []

    def broken(*arguments: object) -> Tensor:
        rows.append(arguments)
        if len(rows) == 20:
            raise OSError(5, "Input/output error")
        return row(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "_row", broken)
    with pytest.raises(BankWriteError, match="keeps what it had"):
        taken_in(bank, path)
    assert bank.revision == 1 and len(list((bank.folder / "shards").iterdir())) == 1 and bank.verify() == ()


def test_ids_are_the_content_of_the_latents(varied: MemoryBank, tmp_path: Path) -> None:
    export_bank(varied.snapshot(), tmp_path / "x.safetensors")
    for batch in open_archive(tmp_path / "x.safetensors").batches():
        assert all(new.id == content_id(new.parts["latents"], "SD3") for new in batch)
