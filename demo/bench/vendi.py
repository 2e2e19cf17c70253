"""``diversity-guidance bench vendi``: ablations of Vendi Guidance (arXiv 2406.04551, section 5), embedded model.

Exemplars from none to ten, how often guidance acts, what it does for each group of pictures, exemplars of one group
only, and few steps without classifier-free guidance. Every row draws the same prompts from the same seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch

from ...features.random_network import RandomNetwork
from ...guidance.interval import SigmaInterval
from ...guidance.sparse_repellency import RECOMMENDED_END, RepellencySettings, SparseRepellency
from ...guidance.vendi_guidance import VendiGuidance
from ...guidance.vendi_settings import VendiSettings
from ...kernels.manifold import prdc
from ...kernels.similarity import cosine_kernel
from ...kernels.vendi import vendi_score
from ...stores.bank_snapshot import BankSnapshot
from ...stores.exemplar_set import ExemplarSet
from ..judge import Judge, Verdict
from ..pipeline import LATENT_FORMAT, EmbeddedModel
from ..schedule import sigma_at_percent
from .vendi_charts import write_charts
from .vendi_groups import GroupShare, group_shares

PROMPTS = ("doctor", "man running", "mage woman", "wave", "santa", "woman biking")
"""Prompts with 12 to 36 known modes each; as many of them are drawn as is asked for."""

WINDOW = SigmaInterval(low=sigma_at_percent(RECOMMENDED_END))
DEFAULT = VendiSettings(interval=WINDOW)
NEIGHBOURS = 3


@dataclass(frozen=True)
class Row:
    """One way of drawing.

    Attributes:
        name: of the row.
        part: of the benchmark that it belongs to.
        cfg: scale of classifier-free guidance.
        steps: evaluations of the model; 0 for what the command line says.
        guidance: how it is steered; None for not at all.
        exemplars: number of real pictures of the prompt.
        biased: the only skin tone or vendor of the exemplars; "" for any.
        remembers: whether pictures are drawn one after another, each beside a bank of those before, not in a batch.
    """

    name: str
    part: str
    cfg: float = 5.0
    steps: int = 0
    guidance: VendiSettings | RepellencySettings | None = None
    exemplars: int = 0
    biased: str = ""
    remembers: bool = False


@dataclass(frozen=True)
class Result:
    """Means over prompts and seeds.

    Attributes:
        known: modes that the prompts leave open.
        modes: modes reached by a faithful picture within the quality limit.
        modes_spread: standard deviation of ``modes`` over the seeds; 0 for one seed.
        fidelity: share of pictures that show what the prompt says.
        rmse: distance to the nearest real picture of the prompt.
        precision: share of pictures among the real ones, at 3 neighbours, random network.
        recall: share of the prompt's real pictures among the generated ones, likewise.
        vendi: Vendi Score of a prompt's pictures, order 1, random network.
        groups: what each skin tone and vendor gets.
    """

    known: float
    modes: float
    modes_spread: float
    fidelity: float
    rmse: float
    precision: float
    recall: float
    vendi: float
    groups: tuple[GroupShare, ...]


@dataclass(frozen=True)
class _Batch:
    prompt: str
    verdicts: Sequence[Verdict]
    precision: float
    recall: float
    vendi: float


def rows() -> tuple[Row, ...]:
    """All rows of the benchmark; the same way of drawing is listed once a part and measured once."""
    repelled = RepellencySettings(interval=WINDOW)
    return (
        Row("none", "baselines"),
        Row("none", "baselines", cfg=2.0),
        Row("none", "baselines", cfg=1.0),
        Row("Sparse Repellency", "baselines", guidance=repelled),
        Row("Vendi Guidance", "baselines", guidance=DEFAULT),
        Row("Vendi Guidance", "baselines", cfg=2.0, guidance=DEFAULT),
        Row("paper preset, 4 exemplars", "baselines", guidance=VendiSettings.paper(), exemplars=4, remembers=True),
        *(Row(f"{count} exemplars", "exemplars", guidance=DEFAULT, exemplars=count) for count in (2, 4, 10)),
        *(
            Row(f"every {often} steps", "frequency", guidance=replace(DEFAULT, frequency=often))
            for often in (2, 5, 10, 25)
        ),
        Row("4 dark-skin exemplars", "bias", guidance=DEFAULT, exemplars=4, biased="dark-skin"),
        Row("4 twitter exemplars", "bias", guidance=DEFAULT, exemplars=4, biased="twitter"),
        *(
            Row("none" if settings is None else "Vendi Guidance", "few steps", cfg=1.0, steps=steps, guidance=settings)
            for steps in (4, 8)
            for settings in (None, DEFAULT)
        ),
    )


class Bench:
    """Draws and judges.

    Args:
        prompts: what is drawn.
        seeds: of every prompt's first batch.
        count: pictures a prompt and seed.
        steps: evaluations of the model where a row says nothing else.
    """

    def __init__(self, prompts: Sequence[str], seeds: Sequence[int], count: int, steps: int) -> None:
        self.prompts, self.seeds, self.count, self.steps = prompts, seeds, count, steps
        self.model, self.judge, self.space = EmbeddedModel.load(), Judge.load(), RandomNetwork()

    def measure(self, row: Row) -> Result:
        """Draw every prompt from every seed, and average."""
        found = {
            seed: [self._batch(row, prompt, seed + number) for number, prompt in enumerate(self.prompts)]
            for seed in self.seeds
        }
        batches = [batch for by_seed in found.values() for batch in by_seed]
        coverages = [self.judge.coverage(batch.verdicts, batch.prompt) for batch in batches]
        by_seed = [
            mean(self.judge.coverage(batch.verdicts, batch.prompt).reached_well for batch in each)
            for each in found.values()
        ]
        verdicts = [(batch.prompt, batch.verdicts) for batch in batches]
        return Result(
            known=mean(coverage.known for coverage in coverages),
            modes=mean(by_seed),
            modes_spread=stdev(by_seed) if len(by_seed) > 1 else 0.0,
            fidelity=mean(coverage.fidelity for coverage in coverages),
            rmse=mean(coverage.rmse for coverage in coverages),
            precision=mean(batch.precision for batch in batches),
            recall=mean(batch.recall for batch in batches),
            vendi=mean(batch.vendi for batch in batches),
            groups=group_shares(verdicts, self.judge.reals),
        )

    def exemplars(self, row: Row, prompt: str, seed: int) -> ExemplarSet | None:
        """Real pictures of the prompt, chosen by the seed, with their latents."""
        if not row.exemplars:
            return None
        matching = self.judge.reals.matching(prompt)
        if row.biased:
            labels = self.judge.reals.labels
            matching = matching[[row.biased in labels[index].mode for index in matching.tolist()]]
        order = torch.randperm(len(matching), generator=torch.Generator().manual_seed(seed))
        images = self.judge.reals.images(matching[order[: row.exemplars]])
        with torch.no_grad():
            return ExemplarSet.from_images(images).with_latents(list(self.model.autoencoder.encode(images)))

    def _batch(self, row: Row, prompt: str, seed: int) -> _Batch:
        pictures = self.model.decode(self._latents(row, prompt, seed))
        features = self.space(pictures)
        real = self.space(self.judge.reals.images(self.judge.reals.matching(prompt)))
        scores = prdc(real, features, NEIGHBOURS)
        return _Batch(
            prompt,
            self.judge.judge(pictures, prompt),
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
        drawn = []
        for number in range(self.count):
            guidance = _guidance(row, bank, exemplars)
            drawn.append(self.model.sample([prompt], 1000 * seed + number, steps=steps, cfg=row.cfg, guidance=guidance))
            bank = bank.extended(drawn[-1], latent_format=LATENT_FORMAT)
        return torch.cat(drawn)


def _guidance(
    row: Row, bank: BankSnapshot | None, exemplars: ExemplarSet | None
) -> VendiGuidance | SparseRepellency | None:
    if isinstance(row.guidance, RepellencySettings):
        return SparseRepellency(row.guidance)
    return None if row.guidance is None else VendiGuidance(row.guidance, bank, exemplars)


def as_markdown(results: Sequence[tuple[Row, Result]]) -> str:
    """The results as a table."""
    lines = [
        f"| part | guidance | CFG | steps | modes of {results[0][1].known:.1f} | fidelity | RMSE | precision | recall "
        "| Vendi |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row, result in results:
        lines.append(
            f"| {row.part} | {row.name} | {row.cfg:g} | {row.steps or ''} | {result.modes:.2f} ± "
            f"{result.modes_spread:.2f} | {result.fidelity:.3f} | {result.rmse:.4f} | {result.precision:.2f} | "
            f"{result.recall:.2f} | {result.vendi:.2f} |"
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--count", type=int, default=16, help="pictures a prompt and seed (default: 16)")
    parser.add_argument("--seeds", type=int, default=2, help="seeds (default: 2)")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help=f"prompts (default: {len(PROMPTS)})")
    parser.add_argument("--steps", type=int, default=24, help="evaluations of the model (default: 24)")
    parser.add_argument("--output", type=Path, help="also write numbers and charts into this folder")


def run(arguments: argparse.Namespace) -> int:
    """Measure every row and print the table as it grows."""
    seeds = [100 * (1 + 4 * index) for index in range(arguments.seeds)]
    bench = Bench(PROMPTS[: arguments.prompts], seeds, arguments.count, arguments.steps)
    results: list[tuple[Row, Result]] = []
    for row in rows():
        results.append((row, bench.measure(row)))
        sys.stderr.write(as_markdown(results[-1:]).splitlines()[-1] + "\n")
        sys.stderr.flush()
    sys.stdout.write(as_markdown(results) + "\n")
    if arguments.output is not None:
        folder: Path = arguments.output
        folder.mkdir(parents=True, exist_ok=True)
        record = [{"row": asdict(row), "result": asdict(result)} for row, result in results]
        (folder / "vendi.json").write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
        write_charts(results, folder)
    return 0
