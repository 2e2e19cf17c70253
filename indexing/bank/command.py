"""``diversity-guidance bank``: look into Memory Banks, change, clean, move and share them, without ComfyUI."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from ..encoders import SIZE
from .actions import ACTIONS, Told
from .images import LARGE_SIZE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(ACTIONS) + "}")
    for name, action in ACTIONS.items():
        each = actions.add_parser(name, help=action.summary, description=action.summary)
        _positional(each, name)
        if name in _OPTIONS:
            _OPTIONS[name](each)
        each.add_argument("--json", action="store_true", help="print what was found or done as JSON")
        if action.asks:
            each.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked, and tell it in sentences or as JSON."""
    told: Told = ACTIONS[arguments.action].do(arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(told.data, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(sentence + "\n" for sentence in told.sentences)
    return told.code


def _positional(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "list":
        parser.add_argument("folder", type=Path, help="folder of the banks, such as ComfyUI/user/diversity_banks")
    else:
        parser.add_argument("bank", type=Path, help="folder of one bank")
    if name in ("rename", "copy"):
        parser.add_argument("name", help="its new name, beside the others")
    elif name in ("restore", "pin-revision", "unpin-revision"):
        parser.add_argument("revision", type=int, help="number of the revision, see info")
    elif name in ("remove", "pin", "unpin"):
        parser.add_argument("ids", nargs="*", help="images by the beginnings of their ids, see show")
    elif name == "export":
        parser.add_argument("to", type=Path, help="the file to write, such as portraits.safetensors")
    elif name == "import":
        parser.add_argument("source", type=Path, help="an exported file, or a folder of images")


def _by_prompt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", default="", help="images whose prompt contains this text")


def _show(parser: argparse.ArgumentParser) -> None:
    _by_prompt(parser)
    _at_revision(parser)
    parser.add_argument("--newest", type=int, default=50, help="how many of the newest (default: 50; 0 for all)")


def _at_revision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--revision", type=int, help="an earlier revision (default: the newest)")


def _vacuum(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep-from", type=int, help="the oldest revision to keep (default: the newest)")


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vae", type=Path, help="folder of a diffusers VAE (default: the embedded model's)")
    parser.add_argument("--latent-format", default="", help="with --vae: the model's format, such as SDXL or Flux")
    parser.add_argument(
        "--size", help=f"of images in pixels, such as 832x1216 (default: {SIZE}, with --vae {LARGE_SIZE})"
    )
    parser.add_argument("--batch", type=int, default=8, help="images encoded at once (default: 8)")


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "show": _show,
    "remove": _by_prompt,
    "pin": _by_prompt,
    "unpin": _by_prompt,
    "vacuum": _vacuum,
    "export": _at_revision,
    "import": _import,
}
