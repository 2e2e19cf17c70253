"""``diversity-guidance demo``: one prompt without and with Sparse Repellency, in images and scores."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from ..embedded.judge import Judge
from ..embedded.model import BASE, TURBO, EmbeddedModel
from ..embedded.schedule import sigma_at_percent
from ..features.random_network import RandomNetwork
from ..guidance.limits import SigmaInterval
from ..guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings
from ..metrics.progress import progress_line
from ..stores.bank.bank import MemoryBank
from .comparison import Request, Series, sample_guided, sample_unguided
from .pages import before_after_page
from .scores import Scores, measure_series, scores_table

DEFAULT_PROMPT = "doctor"
DEFAULTS = RepellencySettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help=f'what to sample (default: "{DEFAULT_PROMPT}")')
    parser.add_argument("--count", type=int, default=8, help="images per batch (default: 8)")
    parser.add_argument(
        "--batches", type=int, default=3, help="batches, each kept away from all earlier ones (default: 3)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the first batch (default: 1)")
    parser.add_argument(
        "--model", choices=("base", "turbo"), default="base", help="turbo: distilled for 4 to 8 steps (default: base)"
    )
    parser.add_argument(
        "--cfg",
        type=float,
        help=f"classifier-free guidance, 1 for none (default: {BASE.cfg:g}; of turbo {TURBO.cfg:g})",
    )
    parser.add_argument(
        "--steps", type=int, help=f"evaluations of the model (default: {BASE.steps}; of turbo {TURBO.steps})"
    )
    parser.add_argument(
        "--radius",
        type=float,
        default=DEFAULTS.radius,
        help="shield radius as a share of the typical distance between unrelated images, 0 for no guidance "
        f"(default: {DEFAULTS.radius})",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("diversity-guidance-demo"),
        help="folder for images, numbers and the Memory Bank (default: diversity-guidance-demo)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Sample, measure, write and print."""
    turbo = arguments.model == "turbo"
    meant = TURBO if turbo else BASE
    request = Request(
        arguments.prompt,
        arguments.count,
        arguments.batches,
        arguments.seed,
        meant.steps if arguments.steps is None else arguments.steps,
        meant.cfg if arguments.cfg is None else arguments.cfg,
    )
    interval = SigmaInterval(low=sigma_at_percent(RECOMMENDED_END))
    settings = RepellencySettings(radius=arguments.radius, interval=interval)
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    model = EmbeddedModel.load(turbo)
    if unknown := model.text.unknown_words(request.prompt):
        _say(f"The embedded model does not know {', '.join(unknown)} and ignores these words.")
    bank = MemoryBank(folder / "banks", "demo")
    bank.clear()
    before = sample_unguided(model, request, progress_line("without guidance", "steps"))
    after = sample_guided(model, request, settings, bank, progress_line("with Sparse Repellency", "steps"))
    judge, space = _judge(), RandomNetwork()
    scores = {
        name: measure_series(series, request.prompt, judge, space)
        for name, series in (("before", before), ("after", after))
    }
    page = folder / "before_after.png"
    before_after_page(before, after, request).save(page)
    table = scores_table(scores)
    (folder / "scores.txt").write_text(table + "\n", encoding="utf-8")
    (folder / "scores.json").write_text(_as_json(request, settings, scores, after), encoding="utf-8")
    _say(table)
    for batch, trace in enumerate(after.traces):
        _say(f"Batch {batch + 1}: {trace.summary()}")
    _say(f"Images: {page}. Scores and traces: {folder / 'scores.json'}.")
    return 0


def _judge() -> Judge | None:
    """The judge, where its files are installed and can be read."""
    try:
        return Judge.load()
    except ValueError as error:
        _say(f"Modes and fidelity are not measured. {error}")
        return None


def _as_json(request: Request, settings: RepellencySettings, scores: dict[str, Scores], after: Series) -> str:
    record = {
        "request": asdict(request),
        "settings": asdict(settings),
        "scores": {name: asdict(score) for name, score in scores.items()},
        "traces": [asdict(trace) for trace in after.traces],
    }
    return json.dumps(record, indent=1, default=str)


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()
