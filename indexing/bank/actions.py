"""What ``diversity-guidance bank`` does: each action takes its arguments and tells what it found or did."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...features.image_folder import printable
from ...metrics.progress import progress_line
from ...stores.bank.bank import MemoryBank
from ...stores.bank.database import DATABASE, SHARDS
from ...stores.bank.entries import BankEntry
from ...stores.bank.errors import BankError
from ...stores.bank.exchange.reader import open_archive
from ...stores.bank.exchange.writer import export_bank
from ...stores.bank.maintenance.info import BankInfo, list_banks
from .images import import_images

SHOWN = 70
"""Characters of a prompt in a line."""

BEGINNING = 12
"""Digits of an id in a line."""


@dataclass(frozen=True)
class Told:
    """What an action found or did.

    Attributes:
        data: for programs: plain JSON values.
        sentences: for people.
        code: the command's exit code.
    """

    data: Any
    sentences: list[str] = field(default_factory=list)
    code: int = 0


class Action(NamedTuple):
    """An action of the command.

    Attributes:
        summary: what it does, for --help.
        do: does it.
        asks: whether it asks before it deletes something.
    """

    summary: str
    do: Callable[[argparse.Namespace], Told]
    asks: bool = False


def _list(arguments: argparse.Namespace) -> Told:
    found = list_banks(arguments.folder)
    data = [
        {"name": bank.name, "problem": bank.problem, **({} if bank.info is None else _facts(bank.info))}
        for bank in found
    ]
    sentences = [_summary(bank.info) if bank.info else f"{bank.name}: {bank.problem}" for bank in found]
    return Told(data, sentences or [f"There are no banks in {arguments.folder}."])


def _info(arguments: argparse.Namespace) -> Told:
    info = _opened(arguments.bank).info()
    sentences = [_summary(info)]
    if info.pinned:
        sentences.append(f"{info.pinned:,} images are pinned: they are never dropped to make room.")
    for space, count in info.spaces.items():
        sentences.append(f"{count:,} images have features of {space}.")
    sentences.append(
        f"Revisions {info.oldest_revision:,} to {info.revision:,} can be loaded; the earlier ones need "
        f"{_size(info.history_bytes)} beside the images' {_size(info.live_bytes)}. Vacuum frees it, and so does the "
        "next image that finds the bank full, from a fifth of the images' size on."
    )
    if info.pinned_revisions:
        sentences.append(f"Pinned revisions stay: {', '.join(map(str, info.pinned_revisions))}.")
    return Told(_facts(info), sentences)


def _show(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    snapshot = bank.snapshot(arguments.revision)
    entries = [entry for entry in snapshot.entries if _has_prompt(entry, arguments.prompt)]
    shown = entries[-arguments.newest :] if arguments.newest > 0 else entries
    lines = [_line(entry) for entry in shown]
    if len(shown) < len(entries):
        lines.append(f"The newest {len(shown):,} of {len(entries):,}; --newest 0 shows all.")
    return Told([_described(entry) for entry in shown], lines or ["No image."])


def _remove(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    chosen = _chosen(bank, arguments)
    if not _agreed(arguments, f"Remove {_images(len(chosen))} from {bank.name}?"):
        return _unchanged(bank)
    revision = bank.remove([entry.id for entry in chosen])
    told = f"{_images(len(chosen))} removed: {bank.name} is at revision {revision}. bank undo takes it back."
    return Told({"removed": [entry.id for entry in chosen], "revision": revision}, [told])


def _clear(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    count = bank.info().entries
    if not _agreed(arguments, f"Remove all {_images(count)} from {bank.name}, pinned ones too?"):
        return _unchanged(bank)
    revision = bank.clear()
    told = (
        f"{_images(count)} removed: {bank.name} is at revision {revision}. bank undo takes it back; vacuum frees disk."
    )
    return Told({"removed": count, "revision": revision}, [told])


def _undo(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    before, revision = bank.revision, bank.undo()
    count = bank.info().entries
    told = (
        f"Taken back: {bank.name} holds {_images(count)} at revision {revision}. bank restore {before} takes this back."
    )
    return Told({"revision": revision, "images": count}, [told])


def _restore(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    revision = bank.restore(arguments.revision)
    count = bank.info().entries
    told = f"{bank.name} holds the {_images(count)} of revision {arguments.revision} again, at revision {revision}."
    return Told({"revision": revision, "images": count}, [told])


def _pin(arguments: argparse.Namespace) -> Told:
    bank, pinned = _opened(arguments.bank), arguments.action == "pin"
    chosen = [entry.id for entry in _chosen(bank, arguments)]
    bank.pin(chosen, pinned)
    told = "pinned: they are never dropped to make room" if pinned else "no longer pinned"
    return Told({"ids": chosen, "pinned": pinned}, [f"{_images(len(chosen))} {told}."])


def _pin_revision(arguments: argparse.Namespace) -> Told:
    bank, pinned = _opened(arguments.bank), arguments.action == "pin-revision"
    bank.pin_revision(arguments.revision, pinned)
    needs = bank.needs(arguments.revision)
    told = f"Revision {arguments.revision} is {'pinned' if pinned else 'no longer pinned'}. It needs " + (
        f"{_images(needs.entries)} that the bank no longer holds, {_size(needs.size)}."
        if needs.entries
        else "nothing that the bank does not hold anyway."
    )
    return Told({"revision": arguments.revision, **asdict(needs)}, [told])


def _vacuum(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    info = bank.info()
    keep = info.revision if arguments.keep_from is None else arguments.keep_from
    question = (
        f"Delete the revisions of {bank.name} before {keep} that are not pinned, and the images that only they need? "
        f"All earlier revisions need {_size(info.history_bytes)}."
    )
    if not _agreed(arguments, question):
        return _unchanged(bank)
    result, merged = bank.vacuum(arguments.keep_from), bank.compact()
    sentences = [f"{_size(result.freed)} were freed, and {merged:,} small files merged. {_summary(bank.info())}"]
    return Told({**asdict(result), "merged": merged}, sentences)


def _verify(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    reasons = _damage(bank)
    sentences = reasons or [f"All {bank.info().entries:,} images of {bank.name} are intact."]
    return Told({"damage": reasons}, sentences, code=1 if reasons else 0)


def _repair(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    reasons = _damage(bank)
    if not reasons:
        return Told({"dropped": [], "revision": bank.revision}, ["Nothing is damaged."])
    sys.stderr.writelines(reason + "\n" for reason in reasons)
    if not _agreed(arguments, f"Drop what is damaged from {bank.name}?"):
        return _unchanged(bank)
    result = bank.repair()
    told = f"{_images(len(result.dropped))} dropped, {bank.info().entries:,} are left."
    return Told({"dropped": list(result.dropped), "revision": result.revision}, [told])


def _rename(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank).rename(arguments.name)
    told = f"The bank is now {bank.name}. Workflows that name it by the old name find an empty bank."
    return Told({"name": bank.name, "folder": str(bank.folder)}, [told])


def _copy(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    copied = bank.copy_to(arguments.name, progress_line(f"Copying {printable(bank.name)}", "files"))
    return Told({"name": copied.name, "folder": str(copied.folder)}, [f"Copied. {_summary(copied.info())}"])


def _export(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    if arguments.to.exists() and not _agreed(arguments, f"Replace {arguments.to}?"):
        return _unchanged(bank)
    snapshot = bank.snapshot(arguments.revision)
    result = export_bank(snapshot, arguments.to, progress_line(f"Exporting {printable(bank.name)}", "parts"))
    told = (
        f"{_images(result.entries)} of {bank.name}, revision {snapshot.revision}, {_size(result.size)}: {arguments.to}"
    )
    return Told({"images": result.entries, "bytes": result.size, "file": str(arguments.to)}, [told])


def _import(arguments: argparse.Namespace) -> Told:
    folder = arguments.bank.absolute()
    bank = MemoryBank(folder.parent, folder.name)
    if arguments.source.is_dir():
        imported = import_images(bank, arguments)
        return Told(imported.data(), imported.sentences())
    checking = progress_line(f"Checking {printable(arguments.source.name)}", "bytes")
    archive = open_archive(arguments.source, checking)
    if not archive.images:
        return Told({"added": 0, "known": 0, "revision": bank.revision}, ["The export holds no images."])
    importing = progress_line(f"Importing {printable(archive.name)}", "images")
    result = bank.take_in(archive.batches(importing), archive.latent_format, archive.encoder, archive.digest)
    told = (
        f"{_images(result.added)} imported from {archive.name}, revision {archive.revision}; {result.duplicates:,} "
        f"known already. {bank.name} is at revision {result.revision}; bank undo takes the import back."
    )
    return Told({"added": result.added, "known": result.duplicates, "revision": result.revision}, [told])


def _delete(arguments: argparse.Namespace) -> Told:
    bank = _opened(arguments.bank)
    try:
        summary = _summary(bank.info())
    except BankError as error:
        summary = f"{bank.name}, which cannot be read ({error})"
    if not _agreed(arguments, f"Delete {summary} for good?"):
        return Told({"deleted": False}, ["Nothing was changed."])
    left = [str(path) for path in bank.delete()]
    told = f"The bank is deleted; {left[0]} and other files that are not the bank's stay." if left else ""
    return Told({"deleted": True, "left": left}, [told or f"{bank.name} is deleted."])


def _opened(folder: Path) -> MemoryBank:
    folder = folder.absolute()
    if not (folder / DATABASE).is_file() and not (folder / SHARDS).is_dir():
        raise BankError(f"There is no bank in {folder}: give the folder that holds {DATABASE}.")
    return MemoryBank(folder.parent, folder.name)


def _chosen(bank: MemoryBank, arguments: argparse.Namespace) -> list[BankEntry]:
    """The images that the arguments name by the beginnings of their ids, or by their prompts."""
    entries = bank.snapshot().entries
    if bool(arguments.ids) == bool(arguments.prompt):
        raise ValueError("Name images by the beginnings of their ids, or all of a prompt with --prompt.")
    if arguments.prompt:
        found = [entry for entry in entries if _has_prompt(entry, arguments.prompt)]
        if not found:
            raise BankError(f"No image of {bank.name} has {arguments.prompt[:SHOWN]!r} in its prompt.")
        return found
    chosen: dict[str, BankEntry] = {}
    for given in arguments.ids:
        beginning = given.lower()
        fitting = [entry for entry in entries if entry.id.startswith(beginning)]
        if not re.fullmatch("[0-9a-f]{1,64}", beginning) or len(fitting) != 1:
            raise BankError(
                f"{len(fitting):,} images of {bank.name} have an id that begins with {given[:64]!r}, so nothing was "
                "changed. bank show lists them."
            )
        chosen[fitting[0].id] = fitting[0]
    return list(chosen.values())


def _damage(bank: MemoryBank) -> list[str]:
    return [damage.reason for damage in bank.verify(progress_line(f"Reading {printable(bank.name)}", "files"))]


def _has_prompt(entry: BankEntry, text: str) -> bool:
    return text.casefold() in (entry.prompt or "").casefold()


def _line(entry: BankEntry) -> str:
    prompt = " ".join((entry.prompt or "no prompt").split())
    prompt = prompt if len(prompt) <= SHOWN else prompt[:SHOWN] + "..."
    seed = "no seed" if entry.seed is None else f"seed {entry.seed}"
    return f"{entry.id[:BEGINNING]}  {entry.created[:16]}  {'pinned' if entry.pinned else '      '}  {seed}  {prompt}"


def _described(entry: BankEntry) -> dict[str, object]:
    return {**asdict(entry), "shape": list(entry.shape), "seed": None if entry.seed is None else str(entry.seed)}


def _facts(info: BankInfo) -> dict[str, object]:
    shapes = [{"shape": list(shape), "images": count} for shape, count in info.shapes.items()]
    return {**asdict(info), "shapes": shapes, "spaces": dict(info.spaces)}


def _summary(info: BankInfo) -> str:
    sizes = ", ".join(" x ".join(map(str, shape)) for shape in info.shapes)
    return (
        f"{info.name}: {_images(info.entries)} ({info.latent_format or 'empty'}{': ' + sizes if sizes else ''}), "
        f"revision {info.revision}, {_size(info.disk_bytes)} on disk, {_size(info.history_bytes)} of it for earlier "
        "revisions."
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    if arguments.yes:
        return True
    sys.stderr.write(f"{question} Type yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "yes"


def _unchanged(bank: MemoryBank) -> Told:
    return Told({"revision": bank.revision, "changed": False}, ["Nothing was changed."])


ACTIONS = {
    "list": Action("list the banks in a folder", _list),
    "info": Action("say what a bank holds, and what its earlier revisions need", _info),
    "show": Action("list a bank's images with prompt, seed and date", _show),
    "remove": Action("remove images", _remove, asks=True),
    "clear": Action("remove all images", _clear, asks=True),
    "undo": Action("take back the newest change; again, the one before", _undo),
    "restore": Action("give a bank the images of an earlier revision again", _restore),
    "pin": Action("pin images, so that they are never dropped to make room", _pin),
    "unpin": Action("let pinned images go", _pin),
    "pin-revision": Action("pin a revision, so that it can always be loaded", _pin_revision),
    "unpin-revision": Action("let a pinned revision go", _pin_revision),
    "vacuum": Action("delete what only earlier revisions need, and merge small files", _vacuum, asks=True),
    "verify": Action("read everything in a bank and list what is damaged", _verify),
    "repair": Action("drop what is damaged, and keep the rest", _repair, asks=True),
    "rename": Action("give a bank another name", _rename),
    "copy": Action("copy a bank with all its revisions", _copy),
    "export": Action("write a bank into one file that can be imported elsewhere", _export, asks=True),
    "import": Action("add the images of an exported file, or of a folder", _import),
    "delete": Action("delete a bank", _delete, asks=True),
}
