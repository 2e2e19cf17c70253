"""``diversity-guidance bench vendi``: ablations of Vendi Guidance (arXiv 2406.04551, section 5), embedded model.

Exemplars from none to ten, frequency of the guidance, coverage of each group of images, exemplars of one group only,
and few steps without classifier-free guidance. Every row samples the same prompts from the same seeds. Results are
written row by row, so that a stopped run resumes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from ...embedded.judge import Judge, Verdict
from ...embedded.latent_space import LATENT_FORMAT
from ...embedded.model import EmbeddedModel
from ...features.random_network import RandomNetwork
from ...guidance.repellency.guidance import RepellencySettings, SparseRepellency
from ...guidance.vendi.guidance import VendiGuidance
from ...kernels.manifold import prdc
from ...kernels.similarity import cosine_kernel
from ...kernels.vendi import vendi_score
from ...stores.bank.snapshot import BankSnapshot
from ...stores.exemplar_set import ExemplarSet
from ..summary import first_seeds, markdown_table, summarised
from .charts import write_charts
from .groups import group_shares, worst_group
from .record import (
    Result,
    identity,
    read_results,
    write_results,
)
from .rows import Row, rows

PROMPTS = ("doctor", "man running", "mage woman", "wave", "santa", "woman biking")
"""Prompts with 12 to 36 known modes each, of which the first ones are used."""

NEIGHBOURS = 3


@dataclass(frozen=True)
class _Batch:
    prompt: str
    verdicts: Sequence[Verdict]
    precision: float
    recall: float
    vendi: float


class Bench:
    """Samples rows and judges them.

    Args:
        prompts: of all rows.
        seeds: of the first prompt's batches.
        count: images per prompt and seed.
        steps: evaluations of the model, if a row does not set them.
    """

    def __init__(self, prompts: Sequence[str], seeds: Sequence[int], count: int, steps: int) -> None:
        self.prompts, self.seeds, self.count, self.steps = prompts, seeds, count, steps
        self.model, self.judge, self.space = EmbeddedModel.load(), Judge.load(), RandomNetwork()
        self._encoded: dict[int, torch.Tensor] = {}

    def measure(self, row: Row) -> Result:
        """Sample every prompt from every seed, and average."""
        found = [[self._batch(row, prompt, seed + at) for at, prompt in enumerate(self.prompts)] for seed in self.seeds]
        batches = [batch for by_seed in found for batch in by_seed]
        return Result(
            summarised([[self.judge.coverage(batch.verdicts, batch.prompt) for batch in by_seed] for by_seed in found]),
            precision=mean(batch.precision for batch in batches),
            recall=mean(batch.recall for batch in batches),
            vendi=mean(batch.vendi for batch in batches),
            groups=group_shares([(batch.prompt, batch.verdicts) for batch in batches], self.judge.reals),
        )

    def exemplars(self, row: Row, prompt: str, seed: int) -> ExemplarSet | None:
        """Real images of the prompt, chosen by the seed, with their latents."""
        if not row.exemplars:
            return None
        matching = self.judge.reals.matching(prompt)
        if row.biased:
            labels = self.judge.reals.labels
            matching = matching[[row.biased in labels[index].mode for index in matching.tolist()]]
        order = torch.randperm(len(matching), generator=torch.Generator().manual_seed(seed))
        chosen = matching[order[: row.exemplars]].tolist()
        latents = [self._real_latents(index) for index in chosen]
        return ExemplarSet.from_images(self.judge.reals.images(torch.tensor(chosen))).with_latents(latents)

    def _real_latents(self, index: int) -> torch.Tensor:
        """Latents of one real image, encoded once."""
        if index not in self._encoded:
            with torch.no_grad():
                image = self.judge.reals.images(torch.tensor([index]))
                self._encoded[index] = self.model.autoencoder.encode(image)[0]
        return self._encoded[index]

    def _batch(self, row: Row, prompt: str, seed: int) -> _Batch:
        images = self.model.decode(self._latents(row, prompt, seed))
        features = self.space(images)
        real = self.space(self.judge.reals.images(self.judge.reals.matching(prompt)))
        scores = prdc(real, features, NEIGHBOURS)
        return _Batch(
            prompt,
            self.judge.judge(images, prompt),
            scores.precision,
            scores.recall,
            vendi_score(cosine_kernel(features)),
        )

    def _latents(self, row: Row, prompt: str, seed: int) -> torch.Tensor:
        exemplars = self.exemplars(row, prompt, seed)
        steps = row.steps or self.steps
        if not row.remembers:
            guidance = _guidance(row, None, exemplars)
            return self.model.sample([prompt] * self.count, seed, steps=steps, cfg=row.cfg, guidance=guidance)
        bank = BankSnapshot.empty()
        latents = []
        for number in range(self.count):
            guidance = _guidance(row, bank, exemplars)
            latents.append(
                self.model.sample([prompt], 1000 * seed + number, steps=steps, cfg=row.cfg, guidance=guidance)
            )
            bank = bank.extended(latents[-1], latent_format=LATENT_FORMAT)
        return torch.cat(latents)


def _guidance(
    row: Row, bank: BankSnapshot | None, exemplars: ExemplarSet | None
) -> VendiGuidance | SparseRepellency | None:
    if isinstance(row.guidance, RepellencySettings):
        return SparseRepellency(row.guidance)
    return None if row.guidance is None else VendiGuidance(row.guidance, bank, exemplars)


def as_markdown(results: Sequence[tuple[Row, Result]]) -> str:
    """The results as a table."""
    known = results[0][1].summary.known
    columns = (
        "part",
        "guidance",
        "CFG",
        "steps",
        f"modes of {known:.1f}",
        "fidelity",
        "RMSE",
        "precision",
        "recall",
        "Vendi",
        "worst group",
    )
    return markdown_table(columns, (_line(row, result) for row, result in results))


def _line(row: Row, result: Result) -> tuple[str, ...]:
    summary, worst = result.summary, worst_group(result.groups)
    return (
        row.part,
        row.name,
        f"{row.cfg:g}",
        f"{row.steps}" if row.steps else "",
        f"{summary.modes:.2f} ± {summary.modes_spread:.2f}",
        f"{summary.fidelity:.3f}",
        f"{summary.rmse:.4f}",
        f"{result.precision:.3f}",
        f"{result.recall:.3f}",
        f"{result.vendi:.2f}",
        f"{worst.group}: {worst.reached} of {worst.known}",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=12, help="images a prompt and seed (default: 12)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds (default: 3)")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help=f"prompts (default: {len(PROMPTS)})")
    parser.add_argument("--steps", type=int, default=24, help="evaluations of the model (default: 24)")
    parser.add_argument(
        "--output", type=Path, help="also write numbers and charts into this folder, and resume from it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure every row and print the table."""
    seeds, folder = first_seeds(arguments.seeds), arguments.output
    conditions = {"prompts": arguments.prompts, "seeds": seeds, "count": arguments.count, "steps": arguments.steps}
    known = read_results(folder, conditions) if folder else {}
    bench = Bench(PROMPTS[: arguments.prompts], seeds, arguments.count, arguments.steps)
    results: list[tuple[Row, Result]] = []
    for row in rows():
        name = identity(row)
        if name not in known:
            known[name] = bench.measure(row)
            if folder:
                write_results(folder, conditions, known)
        results.append((row, known[name]))
        sys.stderr.write(as_markdown(results[-1:]).splitlines()[-1] + "\n")
        sys.stderr.flush()
    sys.stdout.write(as_markdown(results) + "\n")
    if folder:
        write_charts(results, folder)
    return 0
