"""``diversity-guidance bench growth``: time of a step of Sparse Repellency as its Memory Bank grows.

Processor seconds on one thread, beside those of one evaluation of the embedded model with classifier-free guidance.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median

import torch
from torch import Tensor

from ..embedded.latent_space import LATENT_FORMAT
from ..embedded.model import EmbeddedModel
from ..embedded.reals import TILE, RealImages
from ..guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ..stores.bank.snapshot import BankSnapshot
from .index.images import RawEncoder, augmented
from .modes import WINDOW
from .summary import markdown_table
from .vendi.cost import Clocked

ENCODED_AT_ONCE = 256
COUNT, STEPS = 8, 24


def image_latents(count: int) -> Tensor:
    """Raw latents (count, 16, 8, 8) of real images, augmented beyond their number."""
    reals, encoder = RealImages.load(), RawEncoder(torch.float32)
    generator = torch.Generator().manual_seed(0)
    parts = torch.arange(count).split(ENCODED_AT_ONCE)
    return torch.cat([encoder(augmented(reals, part, TILE, generator)) for part in parts])


def white_noise(count: int) -> Tensor:
    """White noise (count, 16, 8, 8)."""
    return torch.randn((count, 16, 8, 8), generator=torch.Generator().manual_seed(0))


KINDS = {"images": image_latents, "white noise": white_noise}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000], help="references of the bank")
    parser.add_argument("--repeats", type=int, default=3, help="runs per size (default: 3)")


def run(arguments: argparse.Namespace) -> int:
    """Measure every kind and size of bank, and print a table.

    Raises:
        ValueError: a number is below 1.
    """
    if min(*arguments.sizes, arguments.repeats) < 1:
        raise ValueError("Sizes and repeats must be at least 1.")
    torch.set_num_threads(1)
    model = EmbeddedModel.load()
    lines = []
    for kind, latents in KINDS.items():
        every = latents(max(arguments.sizes)).half()
        banks = [BankSnapshot.empty().extended(every[:size], latent_format=LATENT_FORMAT) for size in arguments.sizes]
        # In turns, so that other work on the machine slows all sizes.
        runs = [[measure(model, bank) for bank in banks] for _ in range(arguments.repeats)]
        times = [[median(values) for values in zip(*each, strict=True)] for each in zip(*runs, strict=True)]
        for size, (begin, step, evaluation) in zip(arguments.sizes, times, strict=True):
            columns = f"{1e3 * begin:.0f}", f"{1e3 * step:.1f}", f"{step / times[0][1]:.2f}", f"{step / evaluation:.0%}"
            lines.append((kind, f"{size:,}", *columns))
    first = f"of a step beside {arguments.sizes[0]:,}"
    columns = ("references", "number", "start of a run (ms)", "a step (ms)", first, "of the model's step")
    sys.stdout.write(markdown_table(columns, lines) + "\n")
    return 0


def measure(model: EmbeddedModel, bank: BankSnapshot) -> tuple[float, float, float]:
    """Processor seconds of the start of a run, of a step, and of an evaluation of the model."""
    clocked = Clocked(SparseRepellency(RepellencySettings(interval=WINDOW), [bank]))
    model.sample(["doctor"] * COUNT, 1, steps=STEPS, guidance=clocked)
    # The references are prepared at the first step. The last steps are outside the interval.
    acting = clocked.steps[1 : 1 + STEPS // 2]
    return clocked.begins + clocked.steps[0] - median(acting), median(acting), median(clocked.models)
