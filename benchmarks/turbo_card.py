"""Measure the distilled model for its card, beside the model that it was distilled from.

    python -m diversity_guidance.benchmarks.turbo_card --out docs/model_card

Writes turbo.json and turbo.png and prints the table. The prompts are those that no default was tuned on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..embedded.judge import Judge
from ..embedded.model import EmbeddedModel
from ..embedded.schedule import simple_schedule
from ..embedded.transformer import load_transformer
from .model_card import paste_rows
from .prompts import read_prompts
from .summary import Summary, first_seeds, markdown_table, summarised

log = logging.getLogger(__name__)

SHOWN_PROMPT, SHOWN_SEED = "detective", 7
NOISE_LEVELS = simple_schedule(4)[:-1].tolist()


@dataclass(frozen=True)
class Row:
    """One way of sampling."""

    turbo: bool
    steps: int
    cfg: float

    @property
    def name(self) -> str:
        """For tables."""
        return f"{'turbo' if self.turbo else 'base'}, {self.steps} steps, CFG {self.cfg:g}"


ROWS = (
    Row(False, 24, 1.0),
    Row(False, 24, 5.0),
    Row(False, 8, 5.0),
    Row(False, 4, 5.0),
    Row(True, 8, 1.0),
    Row(True, 4, 1.0),
    Row(True, 2, 1.0),
)


def measure(
    model: EmbeddedModel, row: Row, judge: Judge, prompts: Sequence[str], seeds: Sequence[int], count: int
) -> Summary:
    """Known modes, fidelity and quality of `count` images of every prompt from every seed."""
    found = []
    for seed in seeds:
        found.append([])
        for number, prompt in enumerate(prompts):
            latents = model.sample([prompt] * count, seed + number, steps=row.steps, cfg=row.cfg)
            found[-1].append(judge.coverage(judge.judge(model.decode(latents), prompt), prompt))
    return summarised(found)


@torch.no_grad()
def unconditional_shift(base: EmbeddedModel, turbo: EmbeddedModel, prompts: Sequence[str], seed: int) -> list[float]:
    """How far distilling moved the estimate for an empty prompt, for each of `NOISE_LEVELS`.

    The distance between turbo's and the base's estimates of x0 for the empty prompt, relative to the distance between
    turbo's estimates for the prompt and for the empty prompt; on turbo's own samples of the prompts with new noise.
    """
    x0 = turbo.sample(list(prompts), seed, steps=8, cfg=1.0)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed + 1))
    prompt, empty = turbo.text.encode(list(prompts)), turbo.text.encode([""] * len(prompts))
    shifts = []
    for sigma in NOISE_LEVELS:
        x, times = torch.lerp(x0, noise, sigma), torch.full((len(x0),), 1000 * sigma)
        kept, moved, told = (
            network(x, *condition, times, return_dict=False)[0]
            for network, condition in (
                (base.transformer, empty),
                (turbo.transformer, empty),
                (turbo.transformer, prompt),
            )
        )
        shifts.append(float(torch.dist(moved, kept) / torch.dist(told, moved)))
    return shifts


def as_markdown(results: Sequence[tuple[Row, Summary]]) -> str:
    """The results as a table."""
    known = results[0][1].known
    columns = ("model", f"modes of {known:.1f}", "of any quality", "fidelity", "RMSE", "sharpness")
    lines = (
        (
            row.name,
            f"{found.modes:.2f} ± {found.modes_spread:.2f}",
            f"{found.reached:.2f}",
            f"{found.fidelity:.3f}",
            f"{found.rmse:.4f}",
            f"{found.sharpness:.2f}",
        )
        for row, found in results
    )
    return markdown_table(columns, lines)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for turbo.json and turbo.png")
    parser.add_argument("--lora", type=Path, help="another LoRA of the embedded model than its own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=16, help="images a prompt and seed (default: 16)")
    parser.add_argument("--prompts", type=int, help="only the first prompts")
    parser.add_argument("--rows", nargs="+", metavar="TEXT", help="only rows whose name has one of these in it")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    base, judge = EmbeddedModel.load(), Judge.load()
    turbo = (
        EmbeddedModel.load(turbo=True)
        if options.lora is None
        else replace(base, transformer=load_transformer(lora=options.lora))
    )
    rows = [row for row in ROWS if options.rows is None or any(text in row.name for text in options.rows)]
    prompts, seeds = read_prompts()[: options.prompts], first_seeds(options.seeds)
    shown = [
        (turbo if row.turbo else base).sample([SHOWN_PROMPT] * 16, SHOWN_SEED, steps=row.steps, cfg=row.cfg)
        for row in rows
    ]
    paste_rows([base.decode(latents) for latents in shown]).save(options.out / "turbo.png")
    results = []
    for row in rows:
        started = time.monotonic()
        results.append((row, measure(turbo if row.turbo else base, row, judge, prompts, seeds, options.count)))
        log.info("%.0f s\n%s", time.monotonic() - started, as_markdown(results[-1:]).splitlines()[-1])
    record = {
        "rows": [{"name": row.name, **asdict(row), **asdict(found)} for row, found in results],
        "unconditional_shift": dict(zip(NOISE_LEVELS, unconditional_shift(base, turbo, prompts, 1), strict=True)),
    }
    (options.out / "turbo.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(as_markdown(results) + f"\nunconditional shift: {record['unconditional_shift']}\n")


if __name__ == "__main__":
    main()
