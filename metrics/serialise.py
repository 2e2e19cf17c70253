"""The report as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, fields
from typing import Any

from .measures.measure import Measure
from .measures.protected import ProtectedReport
from .report import DiversityReport

_COLUMNS = ("group", *(entry.name for entry in fields(Measure)))


def to_json(report: DiversityReport) -> str:
    """The whole report as strict JSON; numbers that are not finite become strings such as "inf"."""
    return json.dumps(to_plain(report), indent=2, allow_nan=False, ensure_ascii=False)


def to_plain(report: DiversityReport | ProtectedReport) -> dict[str, Any]:
    """A whole report as dictionaries, lists, strings and finite numbers."""
    return _plain(asdict(report))


def to_csv(report: DiversityReport) -> str:
    """The measures, one on each line with what it was computed on; the first column is the group, if any."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    rows = [("", measure) for measure in report.measures]
    rows += [(group.name, measure) for group in report.groups for measure in group.measures]
    for group, measure in rows:
        values = asdict(measure)
        values["parameters"] = " ".join(f"{name}={value:g}" for name, value in measure.parameters.items())
        writer.writerow([_unevaluated(group), *("" if value is None else value for value in values.values())])
    return text.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _unevaluated(name: str) -> str:
    """Escape a name that a spreadsheet would read as a formula."""
    return f"'{name}" if name[:1] in {"=", "+", "-", "@"} else name
