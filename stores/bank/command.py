"""``diversity-guidance bank``: list, verify, repair, compact, export and delete Memory Banks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import safetensors.torch

from ..files import write_whole
from .bank import MemoryBank
from .database import DATABASE, SHARDS
from .entries import LATENTS
from .errors import BankError
from .maintenance import own_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(ACTIONS) + "}")
    for name, (summary, _) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        if name == "list":
            action.add_argument("folder", type=Path, help="folder of the banks, such as ComfyUI/user/diversity_banks")
        else:
            action.add_argument("bank", type=Path, help="folder of one bank")
        if name == "export":
            action.add_argument("to", type=Path, help="folder for the files, created if missing")
        if name in ("repair", "compact", "delete"):
            action.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    _, action = ACTIONS[arguments.action]
    return action(arguments)


def _list(arguments: argparse.Namespace) -> int:
    found = sorted(path.parent for path in arguments.folder.glob(f"*/{DATABASE}"))
    for folder in found:
        try:
            _say(_summary(_opened(folder)))
        except ValueError as error:
            _say(f"{folder.name}: {error}")
    if not found:
        _say(f"There are no banks in {arguments.folder}.")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    bank = _opened(arguments.bank)
    if _damaged(bank):
        return 1
    _say(f"All {bank.info().entries:,} images of {bank.name} are intact.")
    return 0


def _repair(arguments: argparse.Namespace) -> int:
    bank = _opened(arguments.bank)
    if not _damaged(bank):
        _say("Nothing is damaged.")
    elif _agreed(arguments, f"Drop what is damaged from {bank.name}?"):
        result = bank.repair()
        _say(f"{len(result.dropped):,} images were dropped, {bank.info().entries:,} are left.")
    return 0


def _compact(arguments: argparse.Namespace) -> int:
    bank = _opened(arguments.bank)
    if _agreed(arguments, f"Merge the files of {bank.name}, and delete all revisions before the newest?"):
        result, merged = bank.vacuum(), bank.compact()
        _say(f"{result.freed / 1e6:,.1f} MB were freed, and {merged:,} small files merged. {_summary(bank)}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    snapshot = _opened(arguments.bank).snapshot()
    arguments.to.mkdir(parents=True, exist_ok=True)
    written = 0
    for shape in {entry.shape for entry in snapshot.entries}:
        view = snapshot.matching(snapshot.latent_format or "", shape)
        for entry, latent in zip(view.entries, view.latents, strict=True):
            facts = {"prompt": entry.prompt or "", "seed": str(entry.seed or ""), "latent_format": entry.latent_format}
            data = safetensors.torch.save({LATENTS: latent[None].contiguous()}, facts)
            write_whole(arguments.to / f"{entry.id[:32]}.safetensors", data)
            written += 1
    _say(f"{written:,} latents were written to {arguments.to}, each to a safetensors file with its prompt and seed.")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    bank = _opened(arguments.bank)
    if not _agreed(arguments, f"Delete {_summary(bank)} for good?"):
        return 0
    if left := bank.delete():
        _say(f"The bank is deleted; {left[0]} and other files that are not the bank's stay in {bank.folder}.")
        return 0
    _say(f"{bank.name} is deleted.")
    return 0


def _shard_files(bank: MemoryBank) -> list[Path]:
    folder = bank.folder / SHARDS
    return own_files(folder) if folder.is_dir() else []


def _opened(folder: Path) -> MemoryBank:
    folder = folder.absolute()
    if not (folder / DATABASE).is_file():
        raise BankError(f"There is no bank in {folder}: give the folder that holds {DATABASE}.")
    return MemoryBank(folder.parent, folder.name)


def _damaged(bank: MemoryBank) -> bool:
    damages = bank.verify()
    for damage in damages:
        _say(damage.reason)
    return bool(damages)


def _summary(bank: MemoryBank) -> str:
    info = bank.info()
    files = len(_shard_files(bank))
    sizes = ", ".join(" x ".join(map(str, shape)) for shape in info.shapes)
    return (
        f"{info.name}: {info.entries:,} images ({info.latent_format or 'empty'}{': ' + sizes if sizes else ''}), "
        f"revision {info.revision}, {info.disk_bytes / 1e6:,.1f} MB in {files:,} files."
    )


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    if arguments.yes:
        return True
    _say(f"{question} Type yes: ")
    return sys.stdin.readline().strip().lower() == "yes"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


ACTIONS = {
    "list": ("list the banks in a folder", _list),
    "verify": ("read everything in a bank and list what is damaged", _verify),
    "repair": ("drop what is damaged, and keep the rest", _repair),
    "compact": ("merge small files and delete what only earlier revisions need", _compact),
    "export": ("write each latent to a file of its own", _export),
    "delete": ("delete a bank", _delete),
}
