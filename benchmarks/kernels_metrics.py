"""Speed of the metrics compared with the reference packages.

``python -m diversity_guidance.benchmarks.kernels_metrics`` prints a line for each comparison. Times are processor
seconds, so that other programs matter little. Needs the packages ``prdc`` and ``vendi-score``.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..kernels.manifold import prdc
from ..kernels.retrieval import irs_infinity, rejection_threshold
from ..kernels.vendi import vendi_score_features
from .vendi.gradient import unit_features

IMAGENET = 1_281_166
DRAWS = 50_000


class Comparison(NamedTuple):
    """One line of the benchmark.

    Attributes:
        what: the computation and its size.
        seconds: processor seconds of ours.
        reference: processor seconds of the reference; NaN without one.
        difference: largest difference of the two results; NaN without a reference.
    """

    what: str
    seconds: float
    reference: float = math.nan
    difference: float = math.nan

    def __str__(self) -> str:
        line = f"{self.what}: {self.seconds:.4g} s"
        if math.isfinite(self.reference):
            line += f", reference {self.reference:.4g} s, {self.reference / self.seconds:.1f} times as long"
        return line + (f", results differ by {self.difference:.1e}" if math.isfinite(self.difference) else "")


def timed(function: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """A function's result and its processor seconds, the smallest of some repeats."""
    result, best = None, math.inf
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return result, best


def metric_comparisons() -> Iterator[Comparison]:
    """Scores of 10,000 items against the reference packages."""
    items = unit_features(10_000, 512, 2)
    generated = unit_features(10_000, 512, 3) * 0.9
    scores, seconds = timed(lambda: prdc(items, generated, 5), 2)
    package = importlib.import_module("prdc")
    with contextlib.redirect_stdout(io.StringIO()):
        reference, reference_seconds = timed(
            lambda: package.compute_prdc(items.double().numpy(), generated.double().numpy(), nearest_k=5)
        )
    difference = max(abs(ours - float(reference[name])) for name, ours in scores._asdict().items())
    yield Comparison("PRDC of 10,000 x 10,000 x 512", seconds, reference_seconds, difference)

    score, seconds = timed(lambda: vendi_score_features(items), 2)
    vendi = importlib.import_module("vendi_score.vendi")
    reference, reference_seconds = timed(lambda: vendi.score_X(items.double().numpy()))
    yield Comparison("Vendi Score of 10,000 x 512", seconds, reference_seconds, abs(score - reference))


def retrieval_times() -> Iterator[Comparison]:
    """The Image Retrieval Score's threshold and bounds for ImageNet."""
    _, seconds = timed(lambda: rejection_threshold(round(0.8 * IMAGENET), DRAWS), 2)
    yield Comparison(f"rejection threshold for {IMAGENET} images, {DRAWS} draws", seconds)
    _, seconds = timed(lambda: irs_infinity(40_000, DRAWS, IMAGENET))
    yield Comparison(f"IRS bounds for {IMAGENET} images, {DRAWS} draws", seconds)


def main() -> None:
    """Print every comparison as it is made."""
    for part in (retrieval_times, metric_comparisons):
        for comparison in part():
            sys.stdout.write(f"{comparison}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
