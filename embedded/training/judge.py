"""Train the judge's classifier on the real images, and measure its error on attribute combinations that it never saw.

    python -m diversity_guidance.embedded.training.judge --data node_modules --out run --minutes 10

Images are shifted, blurred, made noisy and, half the time, replaced by what the autoencoder makes of them, so that
the judge reads generated images as well as clean ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..autoencoder import Autoencoder, load_autoencoder
from ..judge_network import HEADS, JudgeNetwork
from ..reals import Label
from .data import read_labels, read_pixels
from .loop import (
    Budget,
    WeightAverage,
    cosine_rate,
    save_weights,
)

log = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.1
HELD_OUT_VARIANTS = 12
SHIFT = 3
LATENT_NOISE = 0.1
PIXEL_NOISE = 0.05


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of a run."""

    minutes: float
    batch: int = 64
    rate: float = 3e-3
    weight_decay: float = 0.05
    average: float = 0.998
    smoothing: float = 0.05
    seed: int = 0


def classes_of(labels: Sequence[Label]) -> dict[str, list[str]]:
    """The classes of each head that occur in labels."""
    return {head: sorted({getattr(label, head) for label in labels}) for head in HEADS}


def targets_of(network: JudgeNetwork, labels: Sequence[Label]) -> dict[str, list[int]]:
    """The correct class numbers, by head."""
    numbers = {head: {name: index for index, name in enumerate(names)} for head, names in network.classes.items()}
    return {head: [numbers[head][getattr(label, head)] for label in labels] for head in HEADS}


def hold_out(labels: Sequence[Label], seed: int = 0) -> list[int]:
    """Indices of a tenth of the images of concepts with at least twelve: only their combination will be unseen."""
    counts = Counter(label.concept for label in labels)
    candidates = [index for index, label in enumerate(labels) if counts[label.concept] >= HELD_OUT_VARIANTS]
    return sorted(random.Random(seed).sample(candidates, round(HELD_OUT_SHARE * len(candidates))))


def reconstruct(pixels: Tensor, autoencoder: Autoencoder, seed: int = 0, batch: int = 64) -> Tensor:
    """uint8 images (N, 3, 64, 64) through the autoencoder, their latents noisy as those of a sampler are inexact."""
    generator = torch.Generator().manual_seed(seed)
    outputs = []
    for part in pixels.split(batch):
        raw = autoencoder.encode(part.float() / 255).float()
        raw = raw + LATENT_NOISE * raw.std() * torch.randn(raw.shape, generator=generator)
        outputs.append((autoencoder.decode(raw).float() * 255).round().byte())
    return torch.cat(outputs)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, 3, H, W) in 0..1, each batch shifted by up to three pixels, at times blurred, and made noisy."""
    padded = nn.functional.pad(images, (SHIFT,) * 4, value=1.0)
    top, left = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
    images = padded[:, :, top : top + images.shape[2], left : left + images.shape[3]]
    if torch.rand((), generator=generator) < 0.3:
        images = nn.functional.avg_pool2d(nn.functional.pad(images, (1,) * 4, mode="replicate"), 3, stride=1)
    strength = PIXEL_NOISE * torch.rand(len(images), 1, 1, 1, generator=generator)
    return images + strength * torch.randn(images.shape, generator=generator)


def train(
    pixels: Tensor, reconstructed: Tensor, labels: Sequence[Label], chosen: Sequence[int], settings: Settings
) -> JudgeNetwork:
    """A network trained on the chosen images, uint8 (N, 3, 64, 64), alternately clean and reconstructed."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    network = JudgeNetwork(classes_of(labels)).to(memory_format=torch.channels_last)
    targets = {head: torch.tensor(numbers) for head, numbers in targets_of(network, labels).items()}
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.weight_decay)
    average = WeightAverage(parameters, settings.average)
    pool, step, budget = torch.tensor(chosen), 0, Budget(settings.minutes)
    while budget.progress < 1:
        rows = pool[torch.randint(len(pool), (settings.batch,), generator=generator)]
        source = reconstructed if step % 2 else pixels
        images = augment(source[rows].float() / 255, generator).contiguous(memory_format=torch.channels_last)
        logits = network(images)
        losses = [
            nn.functional.cross_entropy(logits[head], targets[head][rows], label_smoothing=settings.smoothing)
            for head in HEADS
        ]
        optimizer.param_groups[0]["lr"] = cosine_rate(budget.progress, settings.rate)
        optimizer.zero_grad()
        loss = torch.stack(losses).sum()
        loss.backward()
        optimizer.step()
        average.update()
        step += 1
        if step % 200 == 0:
            log.info("step %d, %.0f s, loss %.3f", step, budget.spent, loss.item())
    average.swap()
    return network


@torch.no_grad()
def error_rates(
    network: JudgeNetwork, pixels: Tensor, labels: Sequence[Label], rows: Sequence[int]
) -> dict[str, float]:
    """Share of wrong answers of each head on some images (uint8)."""
    logits = network(pixels[torch.tensor(rows)].float() / 255)
    targets = targets_of(network, [labels[row] for row in rows])
    return {
        head: round(float((logits[head].argmax(1) != torch.tensor(targets[head])).float().mean()), 4) for head in HEADS
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="node_modules folder with the emoji packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for judge.safetensors and judge.json")
    parser.add_argument("--minutes", type=float, default=10, help="training time; the schedule fits itself to it")
    parser.add_argument("--autoencoder", type=Path, help="vae.safetensors for the reconstructions (default: embedded)")
    parser.add_argument("--bfloat16", action="store_true", help="reconstruct in bfloat16")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    paths, labels = read_labels(options.data)
    pixels, autoencoder = read_pixels(paths), load_autoencoder(options.autoencoder)
    with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
        reconstructed = reconstruct(pixels, autoencoder)
    held_out = hold_out(labels)
    chosen = sorted(set(range(len(labels))) - set(held_out))
    settings = Settings(options.minutes)
    network = train(pixels, reconstructed, labels, chosen, settings)
    errors = {
        "held_out": error_rates(network, pixels, labels, held_out),
        "held_out_reconstructed": error_rates(network, reconstructed, labels, held_out),
        "trained": error_rates(network, pixels, labels, chosen),
    }
    facts = {"held_out_images": len(held_out), "errors": errors} | asdict(settings)
    log.info("error rates %s", errors)
    options.out.mkdir(parents=True, exist_ok=True)
    save_weights(options.out / "judge.safetensors", network.state_dict(), {"classes": json.dumps(network.classes)})
    (options.out / "judge.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
