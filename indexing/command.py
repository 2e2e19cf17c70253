"""``diversity-guidance index``: build, change and inspect Protected Indexes without ComfyUI."""

from __future__ import annotations

import argparse
import sys
from math import isnan
from pathlib import Path

from ..features.image_folder import printable
from ..metrics.progress import progress_line
from ..stores.protected.builder import IndexBuilder
from ..stores.protected.index import ProtectedIndex
from ..stores.protected.manifest import NAME as MANIFEST
from ..stores.protected.manifest import read_manifest
from ..stores.protected.spaces import latent_space, name_of
from .build import Outcome, build
from .encoders import CHOICES, FEATURE_SIZE, LATENTS, SIZE, FolderEncoding
from .latents import find_latents
from .nearest import nearest_protected

LISTED = 10
"""Largest number of files of a kind that are listed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(ACTIONS) + "}")
    for name, (purpose, _) in ACTIONS.items():
        action = actions.add_parser(name, help=purpose, description=purpose)
        action.add_argument("index", type=Path, help="folder of the index")
        if name in ("build", "add"):
            _add_source(action)
        elif name == "remove":
            action.add_argument("names", nargs="+", help="what to remove, by the names that info lists")
        elif name == "info":
            action.add_argument("--names", action="store_true", help="also list the name of everything in it")
        elif name == "nearest":
            action.add_argument("images", type=Path, help="folder of images to check")
            _add_encoder(action)
            action.add_argument(
                "--within",
                type=float,
                help="distance below which an image is called NEAR (default: that of near-duplicates, or of shields)",
            )


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    _, action = ACTIONS[arguments.action]
    return action(arguments)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="folder of images, or with --latents of safetensors files")
    _add_encoder(parser)
    parser.add_argument("--latents", metavar="FORMAT", help="read raw VAE latents of this format, such as SD3 or Flux")
    parser.add_argument("--key", default="", help="of the tensor in every file of latents, where there are several")
    parser.add_argument("--ray", metavar="ADDRESS", help="spread the work over a Ray cluster; local starts one here")


def _add_encoder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--space", default=LATENTS, help=f"what images are encoded to: {CHOICES} (default: latents)")
    parser.add_argument(
        "--size",
        type=int,
        help=f"width and height of images in pixels (default: {SIZE}, for features {FEATURE_SIZE})",
    )
    parser.add_argument("--batch", type=int, default=16, help="images encoded at once (default: 16)")


def _encoding(root: Path, arguments: argparse.Namespace) -> FolderEncoding:
    size = (SIZE if arguments.space == LATENTS else FEATURE_SIZE) if arguments.size is None else arguments.size
    if size < 1 or arguments.batch < 1:
        raise ValueError("The size of images and the batch must be at least 1.")
    return FolderEncoding(root, arguments.space, size, arguments.batch)


def _build(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.index
    exists = (folder / MANIFEST).is_file()
    if exists and arguments.action == "build":
        raise ValueError(f"There is an index in {folder} already: say add instead of build to add to it.")
    if not exists and arguments.action == "add":
        raise ValueError(f"There is no index in {folder} yet: say build instead of add.")
    progress = progress_line(printable(str(arguments.source)), "items")
    if arguments.latents:
        source = find_latents(arguments.source, arguments.latents, arguments.key)
        return _tell(build(folder, latent_space(arguments.latents), source, progress))
    encoding = _encoding(arguments.source, arguments)
    if arguments.ray:
        from .cluster import build_on_cluster

        return _tell(build_on_cluster(folder, encoding, arguments.ray, progress))
    space, source = encoding.source(encoding.find())
    return _tell(build(folder, space, source, progress))


def _remove(arguments: argparse.Namespace) -> int:
    with IndexBuilder.opened(arguments.index) as builder:
        removed = builder.remove(arguments.names)
        builder.finish()
    _say(f"{removed:,} removed, {read_manifest(arguments.index).count:,} are protected.")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    index = ProtectedIndex.open(arguments.index)
    manifest = index.manifest
    size = sum(path.stat().st_size for path in index.folder.rglob("*") if path.is_file())
    _say(f"{len(index):,} references: {name_of(index.space)} of shape {' x '.join(map(str, index.shape))}.")
    _say(f"{len(manifest.shards):,} shards, {size / 1e6:,.1f} MB on disk, {index.nbytes / 1e6:,.1f} MB in memory.")
    _say(f"State {manifest.generation}, fingerprint {index.fingerprint()}.")
    for number in range(len(index)) if arguments.names else ():
        _say(index.name(number))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    index = ProtectedIndex.open(arguments.index)
    damages = index.verify()
    for damage in damages:
        _say(damage)
    if not damages:
        _say(f"All {len(index):,} references are what was written.")
    return 1 if damages else 0


def _nearest(arguments: argparse.Namespace) -> int:
    within = arguments.within
    if within is not None and not within >= 0:
        raise ValueError(f"The distance of --within must not be negative, got {within:g}.")
    encoding = _encoding(arguments.images, arguments)
    found = nearest_protected(ProtectedIndex.open(arguments.index), encoding, within)
    _say(f"# Distances between {found.space}: 0 for the same image, about {found.unrelated:.3g} for unrelated ones.")
    _say(f"# Nearest first. NEAR is below {found.limit:.3g} ({found.reason}).")
    _say("# distance\timage\tnearest protected image\t")
    for checked in found.images:
        near = "\tNEAR" if checked.distance < found.limit else ""
        _say(f"{checked.distance:.4f}\t{checked.image}\t{checked.protected}{near}")
    _say(f"# {found.near:,} of {sum(not isnan(each.distance) for each in found.images):,} images are NEAR.")
    return 0


def _tell(outcome: Outcome) -> int:
    _say(outcome.sentence())
    for files in (outcome.unreadable, outcome.passed_over):
        for name, reason in files[:LISTED]:
            _say(f"  {name}: {reason}")
        if len(files) > LISTED:
            _say(f"  ... and {len(files) - LISTED:,} more")
    return 0


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")


ACTIONS = {
    "build": ("make an index of images or latents, or resume a stopped build", _build),
    "add": ("add images or latents to an index; known ones are skipped", _build),
    "remove": ("remove references from an index", _remove),
    "info": ("say what an index holds", _info),
    "verify": ("read everything and list what is damaged", _verify),
    "nearest": ("measure how near the images of a folder are to protected ones", _nearest),
}
