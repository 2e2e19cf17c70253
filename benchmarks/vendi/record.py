"""The results of ``diversity-guidance bench vendi``, and the file from which an interrupted benchmark resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..summary import Summary
from .groups import GroupShare
from .rows import Row

RECORD = "vendi.json"


@dataclass(frozen=True)
class Result:
    """Means over prompts and seeds.

    Attributes:
        summary: modes, fidelity and quality.
        precision: fraction of images among the real ones, at 3 neighbours, random network.
        recall: fraction of the prompt's real images among the generated ones, likewise.
        vendi: Vendi Score of a prompt's images, order 1, random network.
        groups: coverage of each skin tone and vendor.
    """

    summary: Summary
    precision: float
    recall: float
    vendi: float
    groups: tuple[GroupShare, ...]

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Result:
        """From the output of ``asdict``."""
        groups = tuple(GroupShare(**group) for group in record["groups"])
        return cls(**{**record, "summary": Summary(**record["summary"]), "groups": groups})


def identity(row: Row) -> str:
    """A row with all its settings as text."""
    return json.dumps(asdict(row), default=str)


def read_results(folder: Path, conditions: Mapping[str, Any]) -> dict[str, Result]:
    """Results of an earlier run, by the rows' identities; empty without one.

    Args:
        folder: of the file.
        conditions: prompts, seeds and numbers, which must be the same.

    Raises:
        ValueError: it was measured under other conditions.
    """
    if not (folder / RECORD).is_file():
        return {}
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if record["conditions"] != conditions:
        raise ValueError(f"{folder} holds rows measured under {record['conditions']}: choose another folder.")
    return {json.dumps(each["row"]): Result.from_record(each["result"]) for each in record["rows"]}


def write_results(folder: Path, conditions: Mapping[str, Any], results: Mapping[str, Result]) -> None:
    """Write all results atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [{"row": json.loads(name), "result": asdict(result)} for name, result in results.items()]
    partial = folder / f"{RECORD}.partial"
    partial.write_text(json.dumps({"conditions": conditions, "rows": found}, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / RECORD)
