"""Batches of ``bench protection``, sampled without and with an index of the training images."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...embedded.autoencoder import DOWNSCALE, LATENT_CHANNELS
from ...embedded.latent_space import LATENT_FORMAT
from ...embedded.model import EmbeddedModel
from ...embedded.reals import TILE, Label, RealImages
from ...embedded.transformer import to_model_space
from ...guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ...guidance.repellency.protection_record import ProtectionRecord
from ...stores.protected.builder import IndexBuilder
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.manifest import NAME as MANIFEST
from ...stores.protected.spaces import latent_space

BATCH = 8
FIRST_SEED = 1000
LATENT_SHAPE = (LATENT_CHANNELS, TILE // DOWNSCALE, TILE // DOWNSCALE)


@dataclass(frozen=True)
class Batch:
    """Images sampled together.

    Attributes:
        latents: raw, shape (BATCH, 16, 8, 8).
        seconds: processor time of sampling them.
        searches: number of searches of the index.
        spared: number of evaluations without one.
    """

    latents: Tensor
    seconds: float
    searches: int = 0
    spared: int = 0


@dataclass(frozen=True)
class Order:
    """Prompts and sampler of all rows.

    Attributes:
        prompts: one per image, a multiple of ``BATCH``.
        steps: evaluations of the model.
        cfg: scale of classifier-free guidance.
    """

    prompts: Sequence[str]
    steps: int
    cfg: float


def protected_images(folder: Path, model: EmbeddedModel, reals: RealImages) -> ProtectedIndex:
    """The index of all real images, in their order; built if it is missing."""
    if not (folder / MANIFEST).is_file():
        with IndexBuilder(folder, latent_space(LATENT_FORMAT), LATENT_SHAPE) as builder:
            for part in torch.arange(len(builder.labels()), len(reals.pixels)).split(256):
                names = [f"{number} {description(reals.labels[number])}" for number in part.tolist()]
                builder.append(model.autoencoder.encode(reals.images(part)), names)
            builder.finish()
    return ProtectedIndex.open(folder)


def training_prompts(labels: Sequence[Label], count: int) -> list[str]:
    """Full descriptions of random training images."""
    chosen = torch.randint(len(labels), (count,), generator=torch.Generator().manual_seed(0))
    return [description(labels[number]) for number in chosen.tolist()]


def description(label: Label) -> str:
    """The longest prompt that fits a label."""
    return " ".join(words for words in (label.vendor, label.gender, label.skin, label.concept) if words)


def sampled(
    folder: Path, model: EmbeddedModel, order: Order, settings: RepellencySettings | None, index: ProtectedIndex
) -> Iterator[Batch]:
    """The batches of a row; those in the folder are read from there."""
    folder.mkdir(exist_ok=True)
    count = len(order.prompts) // BATCH
    for number in range(count):
        path = folder / f"{number}.safetensors"
        if not path.exists():
            prompts = list(order.prompts[number * BATCH : (number + 1) * BATCH])
            guidance = None if settings is None else SparseRepellency(settings, protected=[index])
            start = time.process_time()
            latents = model.sample(prompts, FIRST_SEED + number, steps=order.steps, cfg=order.cfg, guidance=guidance)
            facts: dict[str, float] = {"seconds": time.process_time() - start}
            for record in guidance.trace.records if guidance else ():
                assert isinstance(record, ProtectionRecord)
                facts |= {"searches": record.searches, "spared": record.spared}
            save_file({"latents": latents}, path, {name: str(value) for name, value in facts.items()})
            if number % 25 == 24 or number + 1 == count:
                sys.stderr.write(f"{folder.name}: batch {number + 1} of {count}\n")
        with safe_open(path, "pt") as file:
            facts = {name: float(value) for name, value in file.metadata().items()}
            counts = (int(facts.get(name, 0)) for name in ("searches", "spared"))
            yield Batch(file.get_tensor("latents"), facts["seconds"], *counts)


def nearest_protected(batches: Sequence[Batch], stored: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of every image to its nearest protected one in the model's space, and the index of that.

    By brute force in float64, independent of the index's search.

    Args:
        batches: the images.
        stored: raw latents of the protected images, shape (N, D).
    """
    references = to_model_space(stored.double())
    points = to_model_space(torch.cat([batch.latents for batch in batches]).double()).flatten(1)
    nearest = [torch.cdist(part, references).min(1) for part in points.split(64)]
    return torch.cat([part.values for part in nearest]), torch.cat([part.indices for part in nearest])
