"""What saved workflows rely on: node ids, the order and types of inputs, the order and types of outputs.

A workflow stores widget values and links by position, an API prompt stores inputs by name. ``definitions`` reduces a
host's ``/object_info`` to what either relies on; ``breaking_changes`` says what of a released snapshot no longer holds.

``python tests/project/node_definitions.py take ADDRESS`` prints the definitions of a running host as JSON,
``python tests/project/node_definitions.py compare BEFORE AFTER`` compares two such files and exits with 1 if anything
breaks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

PREFIX = "Diversity"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
SEEDS = {"seed", "noise_seed"}

Definitions = dict[str, dict[str, Any]]
"""By node id: ``inputs`` and ``outputs`` in their order."""


def definitions(object_info: dict[str, Any]) -> Definitions:
    """The definitions of our nodes in what a host answers to ``/object_info``, by id, sorted.

    Each input has its ``name``, ``type``, ``required``, ``widgets`` (how many values a saved workflow holds for it)
    and, where it has them, its ``options`` or its ``min`` and ``max``. Each output has its ``type`` and ``is_list``.
    """
    return {
        node_id: {
            "inputs": [
                _input(name, required, *spec)
                for required, group in ((True, "required"), (False, "optional"))
                for name, spec in info["input"].get(group, {}).items()
            ],
            "outputs": [
                {"type": kind, "is_list": is_list}
                for kind, is_list in zip(info["output"], info["output_is_list"], strict=True)
            ],
        }
        for node_id, info in sorted(object_info.items())
        if node_id.startswith(PREFIX)
    }


def breaking_changes(before: Definitions, after: Definitions, replaced: Collection[str] = ()) -> list[str]:
    """What breaks workflows that were saved under ``before``, a sentence each.

    Args:
        before: definitions of a release.
        after: definitions of today.
        replaced: ids for which the host knows a replacement; these may vanish.
    """
    found = []
    for node_id, old in before.items():
        new = after.get(node_id)
        if new is not None:
            found += [f"{node_id}: {change}" for change in (*_of_inputs(old, new), *_of_outputs(old, new))]
        elif node_id not in replaced:
            found.append(f"{node_id} is gone and has no replacement.")
    return found


def _input(name: str, required: bool, kind: Any, options: dict[str, Any] | None = None) -> dict[str, Any]:
    options = options or {}
    if isinstance(kind, list):  # the older spelling of a choice
        kind, options = "COMBO", {**options, "options": kind}
    is_widget = kind in WIDGETS and not options.get("forceInput")
    # The editor adds a widget of its own to a seed, unless the node says that it must not.
    has_control = bool(options.get("control_after_generate", kind == "INT" and name in SEEDS))
    return {
        "name": name,
        "type": kind,
        "required": required,
        "widgets": is_widget * (1 + has_control),
        **{key: options[key] for key in ("options", "min", "max") if key in options},
    }


def _of_inputs(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = []
    now = {item["name"]: item for item in new["inputs"]}
    names = {item["name"] for item in old["inputs"]}
    for item in old["inputs"]:
        name = item["name"]
        if name not in now:
            found.append(f"input {name} is gone.")
            continue
        found += [f"input {name} {change}." for change in _of_input(item, now[name])]
    found += [
        f"input {name} is new and required: an API prompt does not give it."
        for name, item in now.items()
        if item["required"] and name not in names
    ]
    for what, is_widget in (("widgets", True), ("sockets", False)):
        places = [_places(node, is_widget) for node in (old, new)]
        if not found and places[1][: len(places[0])] != places[0]:
            found.append(f"the order of its {what} was {', '.join(places[0])}: append new ones only.")
    return found


def _of_input(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = []
    if new["type"] != old["type"]:
        found.append(f"was {old['type']} and is {new['type']}")
    if new["widgets"] != old["widgets"]:
        found.append(f"had {old['widgets']} values in a workflow and has {new['widgets']}")
    if new["required"] and not old["required"]:
        found.append("was optional and is required")
    if lost := [option for option in old.get("options", ()) if option not in new.get("options", ())]:
        found.append(f"lost the choice {lost[0]}")
    if "min" in new and ("min" not in old or new["min"] > old["min"]):
        found.append(f"has the new minimum {new['min']}")
    if "max" in new and ("max" not in old or new["max"] < old["max"]):
        found.append(f"has the new maximum {new['max']}")
    return found


def _places(node: dict[str, Any], is_widget: bool) -> list[str]:
    return [item["name"] for item in node["inputs"] if bool(item["widgets"]) is is_widget]


def _of_outputs(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    kept = new["outputs"][: len(old["outputs"])]
    if kept == old["outputs"]:
        return []
    spelled = ", ".join(item["type"] + " list" * item["is_list"] for item in old["outputs"])
    return [f"its outputs began with {spelled}: append new ones only."]


def main(arguments: list[str]) -> int:
    """Take or compare definitions; 1 if something breaks."""
    match arguments:
        case ["take", address]:
            with urlopen(f"{address.rstrip('/')}/object_info") as answer:
                sys.stdout.write(json.dumps(definitions(json.load(answer)), indent=1) + "\n")
            return 0
        case ["compare", before, after]:
            old, new = (json.loads(Path(path).read_text(encoding="utf-8")) for path in (before, after))
            found = breaking_changes(old, new)
            sys.stdout.write("".join(f"{line}\n" for line in found) or "Nothing breaks.\n")
            return 1 if found else 0
    sys.stderr.write("usage: node_definitions.py take ADDRESS | compare BEFORE AFTER\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
