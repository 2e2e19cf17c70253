"""The check for changes of node definitions that break saved workflows, on a made-up host's answer."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from project.node_definitions import breaking_changes, definitions, main

OBJECT_INFO: dict[str, Any] = {
    "DiversityNoise": {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"min": 0, "max": 9}],
                "method": [["simplex", "free"], {}],
                "order": ["COMBO", {"options": ["first", "last"]}],
            },
            "optional": {"strength": ["FLOAT", {"min": 0.0, "max": 1.0}], "bank": ["DIVERSITY_BANK"]},
        },
        "output": ["NOISE", "IMAGE"],
        "output_is_list": [False, True],
    },
    "KSampler": {"input": {"required": {}}, "output": ["LATENT"], "output_is_list": [False]},
}


def changed(change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]) -> list[str]:
    """What breaks after a change of (node, required inputs, optional inputs)."""
    info = copy.deepcopy(OBJECT_INFO)
    node = info["DiversityNoise"]
    change(node, node["input"]["required"], node["input"]["optional"])
    return breaking_changes(definitions(OBJECT_INFO), definitions(info))


def test_definitions_hold_what_a_workflow_relies_on() -> None:
    found = definitions(OBJECT_INFO)
    assert list(found) == ["DiversityNoise"]
    inputs = {item["name"]: item for item in found["DiversityNoise"]["inputs"]}
    assert list(inputs) == ["model", "seed", "method", "order", "strength", "bank"]
    assert [item["widgets"] for item in inputs.values()] == [0, 2, 1, 1, 1, 0]
    assert inputs["method"] == {
        "name": "method",
        "type": "COMBO",
        "required": True,
        "widgets": 1,
        "options": ["simplex", "free"],
    }
    assert found["DiversityNoise"]["outputs"][1] == {"type": "IMAGE", "is_list": True}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "change",
    [
        lambda node, required, optional: None,
        lambda node, required, optional: optional.update(extra=["FLOAT", {}]),
        lambda node, required, optional: optional.update(mask=["MASK"]),
        lambda node, required, optional: required["order"][1]["options"].append("middle"),
        lambda node, required, optional: optional["strength"][1].update(max=2.0, min=-1.0),
        lambda node, required, optional: optional["strength"][1].pop("max"),
        lambda node, required, optional: optional["strength"][1].update(default=0.5, tooltip="New words"),
        lambda node, required, optional: (node["output"].append("INT"), node["output_is_list"].append(False)),
    ],
)
def test_what_is_appended_breaks_nothing(change: Callable[..., object]) -> None:
    assert changed(change) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda node, required, optional: required.pop("model"), "input model is gone"),
        (lambda node, required, optional: required.update(extra=["FLOAT", {}]), "extra is new and required"),
        (lambda node, required, optional: required["order"].__setitem__(0, "STRING"), "was COMBO and is STRING"),
        (lambda node, required, optional: required["seed"][1].update(control_after_generate=False), "had 2 values"),
        (lambda node, required, optional: optional["strength"][1].update(forceInput=True), "had 1 values"),
        (lambda node, required, optional: required.update(bank=optional.pop("bank")), "was optional and is required"),
        (lambda node, required, optional: required["order"][1]["options"].remove("last"), "lost the choice last"),
        (lambda node, required, optional: optional["strength"][1].update(min=0.1), "new minimum 0.1"),
        (lambda node, required, optional: optional["strength"][1].update(max=0.9), "new maximum 0.9"),
        (
            lambda node, required, optional: required.update(seed=required.pop("seed")),
            "the order of its widgets was seed, method, order, strength",
        ),
        (
            lambda node, required, optional: node["input"].update(optional={"mask": ["MASK"], **optional}),
            "the order of its sockets was model, bank",
        ),
        (lambda node, required, optional: node["output"].reverse(), "its outputs began with NOISE, IMAGE list"),
        (lambda node, required, optional: node["output_is_list"].reverse(), "its outputs began with NOISE, IMAGE list"),
    ],
)
def test_what_breaks_workflows_is_told(change: Callable[..., object], said: str) -> None:
    found = changed(change)
    assert len(found) == 1
    assert said in found[0] and found[0].startswith("DiversityNoise: ")


def test_a_node_vanishes_only_for_a_replacement() -> None:
    before = definitions(OBJECT_INFO)
    assert breaking_changes(before, {}) == ["DiversityNoise is gone and has no replacement."]
    assert breaking_changes(before, {}, replaced={"DiversityNoise"}) == []


def test_taken_from_a_host_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/object_info" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(OBJECT_INFO).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert main(["take", f"http://127.0.0.1:{server.server_port}/"]) == 0
    taken, empty = tmp_path / "taken.json", tmp_path / "empty.json"
    taken.write_text(capsys.readouterr().out)
    empty.write_text("{}")
    assert json.loads(taken.read_text()) == definitions(OBJECT_INFO)
    assert main(["compare", str(empty), str(taken)]) == 0
    assert main(["compare", str(taken), str(empty)]) == 1
    assert "is gone" in capsys.readouterr().out
    assert main(["compare"]) == 2
