"""The rows of ``bench features``, and the file from which an interrupted benchmark resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ...embedded.judge import Judge, Verdict
from ..summary import markdown_table

RECORD = "features.json"


@dataclass(frozen=True)
class Row:
    """One way of sampling a prompt.

    Attributes:
        prompt: of the model.
        group: word for the group that is counted.
        how: "none", "named" for a prompt that names the group, or "towards" its centroid.
        strength: of the guidance.
    """

    prompt: str
    group: str
    how: str
    strength: float = 0.0

    @property
    def name(self) -> str:
        """Label in the table."""
        told = {"none": "nothing", "named": f'the prompt "{self.prompt} {self.group}"'}
        return told.get(self.how, f"{self.how}, strength {self.strength:g}")


@dataclass(frozen=True)
class Result:
    """Means over the batches of one row.

    Attributes:
        share: fraction of images of the group.
        share_spread: standard deviation over the batches.
        good: fraction of images that are of the group, faithful and within the quality limit.
        modes: modes reached by a faithful image within the quality limit.
        fidelity: fraction of images that show what the prompt says.
        rmse: distance to the nearest real image of the prompt.
        sharpness: relative to that image.
    """

    share: float
    share_spread: float
    good: float
    modes: float
    fidelity: float
    rmse: float
    sharpness: float


def judged(judge: Judge, row: Row, batches: Sequence[Sequence[Verdict]]) -> Result:
    """Average the verdicts on the batches of a row."""
    coverages = [judge.coverage(verdicts, row.prompt) for verdicts in batches]
    limit = judge.reals.quality_limit
    shares, goods = [], []
    for verdicts in batches:
        members = [verdict for verdict in verdicts if row.group in verdict.mode]
        shares.append(len(members) / len(verdicts))
        goods.append(sum(verdict.faithful and verdict.rmse <= limit for verdict in members) / len(verdicts))
    return Result(
        mean(shares),
        stdev(shares) if len(shares) > 1 else 0.0,
        mean(goods),
        mean(c.reached_well for c in coverages),
        mean(c.fidelity for c in coverages),
        mean(c.rmse for c in coverages),
        mean(c.sharpness for c in coverages),
    )


def as_markdown(results: Mapping[Row, Result]) -> str:
    """The results as a table."""
    columns = ("prompt", "group", "guided by", "share", "good share", "modes", "fidelity", "RMSE", "sharpness")
    rows = []
    for row, found in results.items():
        shares = (f"{found.share:.2f} ± {found.share_spread:.2f}", f"{found.good:.2f}")
        numbers = (f"{found.modes:.2f}", f"{found.fidelity:.3f}", f"{found.rmse:.4f}", f"{found.sharpness:.2f}")
        rows.append((row.prompt, row.group, row.name, *shares, *numbers))
    return markdown_table(columns, rows)


def read_results(folder: Path | None, conditions: Mapping[str, Any]) -> dict[Row, Result]:
    """Results of an earlier run; empty without one.

    Raises:
        ValueError: it was measured under other conditions.
    """
    if folder is None or not (folder / RECORD).is_file():
        return {}
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if record["conditions"] != conditions:
        raise ValueError(f"{folder} holds rows measured under {record['conditions']}: choose another folder.")
    return {Row(**each["row"]): Result(**each["result"]) for each in record["rows"]}


def write_results(folder: Path | None, conditions: Mapping[str, Any], results: Mapping[Row, Result]) -> None:
    """Write all results atomically."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"row": asdict(row), "result": asdict(found)} for row, found in results.items()]
    partial = folder / f"{RECORD}.partial"
    partial.write_text(json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / RECORD)
