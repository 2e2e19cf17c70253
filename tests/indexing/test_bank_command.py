"""``diversity-guidance bank`` operates a bank: every action, what it asks, and what it says in words and as JSON."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from diversity_guidance.cli import main
from diversity_guidance.indexing.bank.origin import image_origin
from diversity_guidance.indexing.bank.previews import thumbnails
from diversity_guidance.stores.bank.bank import MemoryBank
from PIL import Image, PngImagePlugin
from support.random_latents import random_latents

Say = Callable[..., tuple[int, str]]


@pytest.fixture
def bank(tmp_path: Path) -> MemoryBank:
    """Six images in three revisions."""
    bank = MemoryBank(tmp_path / "banks", "portraits")
    for seed in range(3):
        prompts = ["a cat in\nthe rain", f"a dog {'very ' * 100}old"]
        bank.append(random_latents(2, seed=seed), latent_format="SD3", prompts=prompts, seeds=seed)
    return bank


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Runs the command with an answer; its exit code, and all that it says."""

    def run(*words: object, answer: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer + "\n"))
        code = main(["bank", *map(str, words)])
        return code, "".join(capsys.readouterr())

    return run


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command, and reads its JSON."""

    def run(*words: object) -> Any:
        assert main(["bank", *map(str, words), "--json"]) in (0, 1)
        return json.loads(capsys.readouterr().out)

    return run


def test_banks_are_listed(bank: MemoryBank, say: Say, ask: Callable[..., Any]) -> None:
    (bank.folder.parent / "broken" / "shards").mkdir(parents=True)
    (bank.folder.parent / "broken" / "shards" / f"{'0' * 32}.safetensors").touch()
    code, told = say("list", bank.folder.parent)
    assert code == 0 and "portraits: 6 images (SD3: 4 x 3 x 2), revision 3" in told
    assert "broken: The bank's database" in told and "MB on disk" in told
    broken, portraits = ask("list", bank.folder.parent)
    assert broken["problem"] and portraits["entries"] == 6
    assert portraits["shapes"] == [{"shape": [4, 3, 2], "images": 6}]
    assert "no banks" in say("list", bank.folder / "shards")[1]


def test_what_a_bank_holds_is_shown(bank: MemoryBank, say: Say, ask: Callable[..., Any]) -> None:
    bank.pin([bank.snapshot().entries[0].id])
    told = say("info", bank.folder)[1]
    assert "Revisions 0 to 3 can be loaded" in told and "1 images are pinned" in told
    assert ask("info", bank.folder)["pinned"] == 1
    lines = say("show", bank.folder)[1].splitlines()
    assert (
        len(lines) == 6 and "pinned  seed 0  a cat in the rain" in lines[0] and all(len(line) < 130 for line in lines)
    )
    assert "The newest 2 of 6" in say("show", bank.folder, "--newest", 2)[1]
    images = ask("show", bank.folder, "--prompt", "DOG", "--revision", 2)
    assert [image["seed"] for image in images] == ["0", "1"] and len(images[0]["prompt"]) > 500
    assert "No image." in say("show", bank.folder, "--prompt", "horse")[1]


def test_images_are_removed_and_brought_back(bank: MemoryBank, say: Say, ask: Callable[..., Any]) -> None:
    ids = [entry.id for entry in bank.snapshot().entries]
    assert "Nothing was changed" in say("remove", bank.folder, ids[0][:8], answer="no")[1] and bank.revision == 3
    assert "1 image removed" in say("remove", bank.folder, ids[0][:8], answer="yes")[1]
    assert ask("remove", bank.folder, "--prompt", "dog", "--yes")["removed"] == ids[1::2]
    assert len(bank.snapshot()) == 2
    assert "holds 5 images at revision 6. bank restore 5" in say("undo", bank.folder)[1]
    assert ask("restore", bank.folder, 3) == {"revision": 7, "images": 6}
    code, told = say("remove", bank.folder, "zz", "--yes")
    assert code == 2 and "0 images of portraits have an id that begins with 'zz', so nothing was changed" in told
    assert say("remove", bank.folder, "--yes")[0] == 2 and say("remove", bank.folder, "--prompt", "x", "--yes")[0] == 2
    assert "Remove all 6 images from portraits, pinned ones too?" in say("clear", bank.folder, answer="yes")[1]
    assert len(bank.snapshot()) == 0 and bank.revision == 8


def test_pins(bank: MemoryBank, say: Say) -> None:
    identity = bank.snapshot().entries[0].id
    assert "1 image pinned" in say("pin", bank.folder, identity)[1] and bank.snapshot().entries[0].pinned
    assert "no longer pinned" in say("unpin", bank.folder, identity)[1] and not bank.snapshot().entries[0].pinned
    bank.clear()
    assert "It needs 4 images that the bank no longer holds" in say("pin-revision", bank.folder, 2)[1]
    assert "Pinned revisions stay: 2." in say("info", bank.folder)[1]
    say("vacuum", bank.folder, "--yes")
    assert len(bank.snapshot(2)) == 4
    assert "no longer pinned" in say("unpin-revision", bank.folder, 2)[1]
    assert say("pin-revision", bank.folder, 1)[0] == 2


def test_care(bank: MemoryBank, say: Say, ask: Callable[..., Any]) -> None:
    shards = bank.folder / "shards"
    assert "All 6 images of portraits are intact." in say("verify", bank.folder)[1]
    assert "Nothing is damaged." in say("repair", bank.folder)[1]
    code, told = say("vacuum", bank.folder, answer="no")
    assert "Delete the revisions of portraits before 3" in told and len(list(shards.iterdir())) == 3
    assert "3 small files merged" in say("vacuum", bank.folder, answer="yes")[1] and len(list(shards.iterdir())) == 1
    with closing(sqlite3.connect(bank.folder / "index.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE parts SET row = 99 WHERE position = 1")
    code, told = say("verify", bank.folder)
    assert code == 1 and "row 99 of latents is not in the file" in told
    assert len(ask("verify", bank.folder)["damage"]) == 1
    assert "1 image dropped, 5 are left" in say("repair", bank.folder, "--yes")[1]


def test_banks_are_renamed_copied_and_deleted(bank: MemoryBank, say: Say) -> None:
    root = bank.folder.parent
    assert "The bank is now faces" in say("rename", bank.folder, "faces")[1]
    assert "Copied. copy: 6 images" in say("copy", root / "faces", "copy")[1]
    code, told = say("copy", root / "faces", "copy")
    assert code == 2 and "The name 'copy' is taken" in told
    assert say("rename", root / "copy", "../copy")[0] == 2
    (root / "copy" / "notes.txt").write_text("the user's own")
    assert "Nothing was changed" in say("delete", root / "copy")[1] and len(MemoryBank(root, "copy").snapshot()) == 6
    assert "notes.txt" in say("delete", root / "copy", "--yes")[1] and (root / "copy" / "notes.txt").exists()
    assert not (root / "copy" / "index.sqlite").exists()
    code, told = say("verify", root / "copy" / "shards")
    assert code == 2 and "There is no bank in" in told
    (root / "faces" / "index.sqlite").write_bytes(b"x" * 1000)
    assert "cannot be read" in say("delete", root / "faces", answer="yes")[1] and not (root / "faces").exists()


def test_a_bank_goes_to_another_machine(bank: MemoryBank, tmp_path: Path, say: Say, ask: Callable[..., Any]) -> None:
    there = MemoryBank(tmp_path / "there", "gift")
    file = tmp_path / "portraits.safetensors"
    assert "6 images of portraits, revision 3" in say("export", bank.folder, file)[1]
    assert "Replace" in say("export", bank.folder, file, answer="no")[1]
    assert ask("export", bank.folder, file, "--revision", 2, "--yes")["images"] == 4
    assert "4 images imported from portraits, revision 2; 0 known already" in say("import", there.folder, file)[1]
    assert ask("import", there.folder, file) == {"added": 0, "known": 4, "revision": 1}
    assert there.snapshot().digest == bank.snapshot(2).digest
    file.write_bytes(file.read_bytes()[:-1])
    code, told = say("import", there.folder, file)
    assert code == 2 and "cut short or changed" in told
    assert say("import", there.folder, tmp_path / "nothing")[0] == 2


def graph(prompt: str, seed: int) -> dict[str, Any]:
    """A prompt as ComfyUI saves it, with a node between the text and the sampler."""
    return {
        "3": {"class_type": "KSampler", "inputs": {"seed": seed, "positive": ["5", 0], "negative": ["7", 0]}},
        "5": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["6", 0], "guidance": 3.5}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    }


def saved(path: Path, seed: int, **texts: object) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = (torch.rand(96, 64, 3, generator=generator) * 255).to(torch.uint8)
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text if isinstance(text, str) else json.dumps(text))
    Image.fromarray(pixels.numpy()).save(path, pnginfo=info)


@pytest.fixture
def pngs(bank: MemoryBank, tmp_path: Path) -> Path:
    """Images as ComfyUI saves them, a note, and a file that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    here = {"portraits": {"revision": 2, "images": 4, "digest": bank.snapshot(2).digest}}
    elsewhere = {
        "landscapes": {"revision": 7, "images": 90, "digest": "ab" * 32},
        "../x": {"revision": 1, "digest": ""},
    }
    saved(folder / "a.png", 1, prompt=graph("a cat", 2**64 - 1), diversity_banks=here)
    noted = graph("a dog", 7)
    noted["3"]["_meta"] = {"diversity_banks": elsewhere}
    saved(folder / "b.png", 2, prompt=noted)
    saved(folder / "c.png", 3, prompt="[[[[", diversity_banks="[1, 2]")
    (folder / "notes.txt").write_text("not an image")
    (folder / "d.png").write_bytes((folder / "c.png").read_bytes()[:500])
    return folder


def test_a_folder_of_images_fills_a_bank(pngs: Path, tmp_path: Path, say: Say, ask: Callable[..., Any]) -> None:
    pytest.importorskip("diffusers")
    filled = MemoryBank(tmp_path / "banks", "filled")
    code, told = say("import", filled.folder, pngs, "--size", "32x48")
    assert code == 0 and "3 images added, 0 were known already; 2 tell their prompt." in told
    assert "1 could not be read:\n  d.png:" in told and "1 passed over: 1 not an image" in told
    assert "1 of them were sampled beside revision 2 of a bank 'portraits', which is here." in told
    assert "'landscapes', which is not here. An image names the bank and does not hold it: export it" in told
    assert "a bank '../x', which is no name of a bank" in told
    entries = filled.snapshot().entries
    assert [(entry.prompt, entry.seed) for entry in entries] == [("a cat", 2**64 - 1), ("a dog", 7), (None, None)]
    assert {entry.shape for entry in entries} == {(16, 6, 4)} and filled.snapshot().latent_format == "SD3Emoji"
    assert all(entry.encoder for entry in entries)
    previews = filled.snapshot().thumbnails([entry.id for entry in entries])
    assert {tuple(preview.shape) for preview in previews.values()} == {(48, 32, 3)}
    again = ask("import", filled.folder, pngs, "--size", "32x48")
    assert (again["added"], again["known"], again["with_prompt"]) == (0, 3, 2) and len(again["beside"]) == 3


def test_what_does_not_fit_is_refused_before_it_is_encoded(
    bank: MemoryBank, pngs: Path, tmp_path: Path, say: Say
) -> None:
    pytest.importorskip("diffusers")
    code, told = say("import", bank.folder, pngs)
    assert code == 2 and "'portraits' holds SD3 latents, and the embedded model's autoencoder makes others" in told
    other = tmp_path / "banks" / "other"
    for words, sentence in (
        (["--size", "7"], "multiples of 8 from 8 to 8192, not '7'"),
        (["--size", "9999999"], "not '9999999'"),
        (["--batch", "0"], "at least 1"),
        (["--vae", tmp_path], "Name the model's latent format"),
        (["--vae", tmp_path, "--latent-format", "SDXL"], "no config.json"),
    ):
        code, told = say("import", other, pngs, *words)
        assert code == 2 and sentence in told
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderTiny"}')
    assert "holds 'AutoencoderTiny'" in say("import", other, pngs, "--vae", tmp_path, "--latent-format", "SDXL")[1]
    assert not other.exists()


def test_a_vae_of_diffusers_encodes_images(pngs: Path, tmp_path: Path, say: Say) -> None:
    kl = pytest.importorskip("diffusers.models.autoencoders.autoencoder_kl")
    torch.manual_seed(0)
    network = kl.AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=2,
    )
    network.save_pretrained(tmp_path / "vae")
    filled, vae = MemoryBank(tmp_path / "banks", "filled"), ["--vae", tmp_path / "vae", "--size", "64x96"]
    code, told = say("import", filled.folder, pngs, *vae, "--latent-format", "SDXL")
    assert code == 0 and "3 images added" in told
    with Image.open(pngs / "a.png") as image:
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, 96, 64, 3).movedim(-1, 1)
    with torch.no_grad():
        expected = network.encode(pixels.float() / 255 * 2 - 1).latent_dist.mode()
    latents = filled.snapshot().matching("SDXL", (4, 48, 32)).latents
    assert torch.allclose(latents[:1].float(), expected, atol=2e-3)
    code, told = say("import", tmp_path / "banks" / "flux", pngs, *vae, "--latent-format", "Flux")
    assert code == 2 and "does not make latents of Flux" in told


def test_a_file_without_facts_tells_none(tmp_path: Path) -> None:
    saved(tmp_path / "two.png", 1, prompt=graph("a cat", 1) | {"9": graph("a dog", 2)["3"]})
    assert (image_origin(tmp_path / "two.png").prompt, image_origin(tmp_path / "two.png").seed) == ("a cat", None)
    loop = {"3": {"inputs": {"positive": ["3", 0], "seed": True}}}
    saved(tmp_path / "loop.png", 1, prompt=loop)
    assert image_origin(tmp_path / "loop.png") == image_origin(tmp_path / "missing.png")


def test_previews_are_small(tmp_path: Path) -> None:
    assert thumbnails(torch.rand(2, 3, 300, 600)).shape == (2, 64, 128, 3)
    assert thumbnails(torch.full((1, 3, 5, 7), 2.0)).unique().tolist() == [255]
