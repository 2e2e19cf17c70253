"""``diversity-guidance demo``: the same prompt alike, then different, with pictures and numbers, without ComfyUI."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from ..embedded.judge import Judge
from ..embedded.pipeline import BASE, TURBO, EmbeddedModel
from ..embedded.schedule import sigma_at_percent
from ..features.random_network import RandomNetwork
from ..guidance.limits import SigmaInterval
from ..guidance.repellency.guidance import RECOMMENDED_END, RepellencySettings
from ..stores.bank.bank import MemoryBank
from .comparison import (
    Request,
    Series,
    draw_guided,
    draw_unguided,
)
from .pages import before_after_page
from .scores import Scores, measure_series, scores_table

DEFAULT_PROMPT = "doctor"
DEFAULTS = RepellencySettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help=f'words to draw (default: "{DEFAULT_PROMPT}")')
    parser.add_argument("--count", type=int, default=8, help="pictures a batch (default: 8)")
    parser.add_argument("--batches", type=int, default=3, help="batches, each kept away from all before (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="of the first batch (default: 1)")
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
        help="shield radius as a share of the typical distance between unrelated pictures, 0 for no guidance "
        f"(default: {DEFAULTS.radius})",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("diversity-guidance-demo"),
        help="folder for pictures, numbers and the Memory Bank (default: diversity-guidance-demo)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw, write and print; the exit code is 0 unless the input is bad."""
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
        _say(f"The embedded model was never taught {', '.join(unknown)}: these words are ignored.")
    bank = MemoryBank(folder / "banks", "demo")
    bank.clear()
    before = draw_unguided(model, request, _Bar("as the model draws it"))
    after = draw_guided(model, request, settings, bank, _Bar("with Sparse Repellency"))
    judge, space = Judge.load(), RandomNetwork()
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
    _say(f"Pictures: {page}. Numbers and what pushed what: {folder / 'scores.json'}.")
    return 0


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


class _Bar:
    """A progress line: rewritten in place on a terminal, once a quarter elsewhere."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __call__(self, done: int, steps: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{self.title}: step {done} of {steps}" + ("\n" if done == steps else ""))
        elif done == steps or done % max(1, steps // 4) == 0:
            sys.stderr.write(f"{self.title}: step {done} of {steps}\n")
        sys.stderr.flush()
