"""Fill a Memory Bank from a folder of images, through the embedded model's autoencoder or a diffusers VAE."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...features.fingerprint import encoder_fingerprint
from ...features.image_files import ImageFileError, read_ahead
from ...features.image_folder import FoundFiles, find_images, printable, summary
from ...metrics.progress import progress_line
from ...stores.bank.bank import MemoryBank
from ...stores.bank.errors import BankError
from ...stores.files import validate_name
from ..encoders import LATENTS, SIZE, image_encoder
from ..latent_formats import latents_shape
from ..sources import Encode, Fitted
from .origin import BankState, ImageOrigin, image_origin
from .previews import thumbnails

LARGE_SIZE = 1024
LARGEST = 8192
MULTIPLE = 8
CAPACITY = 10_000_000
"""A bank that is filled by hand takes what it is given: only what a workflow saves makes room."""

LISTED = 10
"""Files that are named."""


class _Vae(NamedTuple):
    latent_format: str
    fingerprint: str
    encode: Encode


@dataclass
class Imported:
    """What an import of images did.

    Attributes:
        bank: that took them.
        added: images new to the bank.
        known: images that it held already.
        unreadable: names of files that could not be read, and why.
        passed_over: names of what else lies in the folder, and why.
        told: number of images whose file tells their prompt.
        beside: number of images by the bank that they were sampled beside.
        before: the bank's revision before.
    """

    bank: MemoryBank
    before: int
    added: int = 0
    known: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    passed_over: tuple[tuple[str, str], ...] = ()
    told: int = 0
    beside: Counter[BankState] = field(default_factory=Counter)

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "added": self.added,
            "known": self.known,
            "unreadable": [list(each) for each in self.unreadable],
            "passed_over": [list(each) for each in self.passed_over],
            "with_prompt": self.told,
            "beside": [{**state._asdict(), "images": count} for state, count in self.beside.items()],
            "revision": self.bank.revision,
        }

    def sentences(self) -> list[str]:
        """For people."""
        revision = self.bank.revision
        told = [f"{self.added:,} images added, {self.known:,} were known already; {self.told:,} tell their prompt."]
        if revision > self.before:
            told.append(f"{self.bank.name} is at revision {revision}; bank restore {self.before} takes this back.")
        if self.unreadable:
            told.append(f"{len(self.unreadable):,} could not be read:")
            told += [f"  {name}: {reason}" for name, reason in self.unreadable[:LISTED]]
        told += [summary(self.passed_over)] * bool(self.passed_over)
        return [*told, *(self._about(state, count) for state, count in self.beside.items())]

    def _about(self, state: BankState, count: int) -> str:
        """What is known here of a bank that images were sampled beside: their files name it and do not hold it."""
        named = f"{count:,} of them were sampled beside revision {state.revision} of a bank {printable(state.name)!r}"
        try:
            found = MemoryBank(self.bank.folder.parent, validate_name(state.name, "bank"))
            here = found.revision > 0 and found.snapshot(state.revision).digest == state.digest
        except BankError:
            here = False
        except ValueError:
            return f"{named}, which is no name of a bank."
        if here:
            return f"{named}, which is here."
        return (
            f"{named}, which is not here. An image names the bank and does not hold it: export it where it was made, "
            "with diversity-guidance bank export, and import that file."
        )


def import_images(bank: MemoryBank, arguments: argparse.Namespace) -> Imported:
    """Encode the images of a folder and add them, some at a time: an import that is stopped goes on when repeated.

    Args:
        bank: to fill.
        arguments: of the command: source, vae, latent_format, size and batch.

    Raises:
        ValueError: there is no image, or the bank holds latents of another format or VAE.
    """
    found = find_images(arguments.source)
    width, height = _size(arguments.size, SIZE if arguments.vae is None else LARGE_SIZE)
    if arguments.batch < 1:
        raise ValueError("The batch must be at least 1.")
    vae = _embedded() if arguments.vae is None else _diffusers(arguments.vae, arguments.latent_format)
    if arguments.vae is None and (held := bank.info().latent_format) not in (None, vae.latent_format):
        raise BankError(
            f"The bank '{bank.name}' holds {held} latents, and the embedded model's autoencoder makes others: give the "
            "folder of the model's VAE with --vae, and --latent-format."
        )
    bank = MemoryBank(bank.folder.parent, bank.name, capacity=CAPACITY)
    imported = Imported(bank, bank.revision, passed_over=found.passed_over)
    for images, origins in _batches(found, Fitted(width, height, vae.encode), arguments.batch, imported):
        latents = vae.encode(images)
        try:
            latents_shape(vae.latent_format, latents.shape)
        except ValueError as error:
            raise ValueError(f"This VAE does not make latents of {vae.latent_format}: {error}") from error
        result = bank.append(
            latents,
            latent_format=vae.latent_format,
            prompts=[origin.prompt for origin in origins],
            seeds=[origin.seed for origin in origins],
            thumbnails=thumbnails(images),
            encoder=vae.fingerprint,
        )
        imported.added += result.added
        imported.known += result.duplicates
    return imported


def _batches(
    found: FoundFiles, fitted: Fitted, size: int, imported: Imported
) -> Iterator[tuple[Tensor, list[ImageOrigin]]]:
    progress = progress_line(printable(str(found.root)))
    images: list[Tensor] = []
    origins: list[ImageOrigin] = []
    for done, (path, result) in enumerate(read_ahead(found.paths, _reader(fitted)), start=1):
        if isinstance(result, ImageFileError):
            imported.unreadable.append((found.name(path), str(result)))
        else:
            images.append(result[0])
            origins.append(result[1])
            imported.told += result[1].prompt is not None
            imported.beside.update(result[1].banks)
        if len(images) == size or (images and done == len(found.paths)):
            yield torch.stack(images), origins
            images, origins = [], []
        progress(done, len(found.paths))


def _reader(fitted: Fitted) -> Callable[[Path], tuple[Tensor, ImageOrigin]]:
    return lambda path: (fitted.read(path), image_origin(path))


def _size(text: str | None, default: int) -> tuple[int, int]:
    """Width and height in pixels."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text or str(default))
    width, height = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(MULTIPLE <= side <= LARGEST and side % MULTIPLE == 0 for side in (width, height)):
        raise ValueError(
            f"Give the size of images in pixels, as 1024 or 832x1216: multiples of {MULTIPLE} from {MULTIPLE} to "
            f"{LARGEST}, not {text!r}."
        )
    return width, height


def _embedded() -> _Vae:
    from ...embedded.latent_space import LATENT_FORMAT, autoencoder_fingerprint

    return _Vae(LATENT_FORMAT, autoencoder_fingerprint(), image_encoder(LATENTS).encode)


def _diffusers(folder: Path, latent_format: str) -> _Vae:
    """A VAE in the folder of a diffusers model, read from safetensors alone."""
    if not latent_format:
        raise ValueError("Name the model's latent format with --latent-format, such as SDXL or Flux.")
    try:
        kind = json.loads((folder / "config.json").read_bytes()).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{folder} is no folder of a diffusers VAE: it has no config.json that can be read."
        ) from error
    if kind != "AutoencoderKL":
        raise ValueError(f"{folder} holds {kind!r}. Images are encoded with an AutoencoderKL.")
    try:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is not installed: pip install "diversity-guidance[demo]" brings it.') from error
    try:
        network: Any = AutoencoderKL.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"The VAE in {folder} cannot be read ({error}).") from error
    network = network.float().eval().requires_grad_(False)

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        return network.encode(images * 2 - 1).latent_dist.mode()

    return _Vae(latent_format, encoder_fingerprint(network.state_dict()), encode)
