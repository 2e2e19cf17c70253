"""The workflows for models that people run: written by the script, and right but for the weights that are not here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.host_client import HostClient, Prompt
from support.host_server import PACK, HostServer
from support.model_examples import PREFIX, model_workflows
from support.workflows import to_api

FILES = sorted((PACK / "example_workflows").glob(f"{PREFIX}*.json"))
FILE_INPUTS = {"ckpt_name", "unet_name", "clip_name", "clip_name1", "clip_name2", "vae_name", "lora_name"}


@pytest.fixture(scope="module")
def object_info(server: HostServer) -> dict[str, Any]:
    return server.client.object_info()


def api(path: Path, object_info: dict[str, Any]) -> Prompt:
    return to_api(json.loads(path.read_text(encoding="utf-8")), object_info)


def test_the_files_are_those_that_the_script_writes(object_info: dict[str, Any]) -> None:
    written = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
    assert written == json.loads(json.dumps(model_workflows(object_info)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_host_misses_nothing_but_weights(path: Path, client: HostClient, object_info: dict[str, Any]) -> None:
    body = {"prompt": api(path, object_info), "client_id": client.client_id}
    response = client.session.post(f"{client.address}/prompt", json=body, timeout=60)
    assert response.status_code == 400
    errors = [
        (error["type"], error["extra_info"]["input_name"])
        for node in response.json()["node_errors"].values()
        for error in node["errors"]
    ]
    assert errors
    assert [error for error in errors if error[0] != "value_not_in_list" or error[1] not in FILE_INPUTS] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wires_and_values_are_what_the_nodes_take(path: Path, object_info: dict[str, Any]) -> None:
    """The host says nothing of inputs that it does not know."""
    prompt = api(path, object_info)
    for node in prompt.values():
        groups = object_info[node["class_type"]]["input"]
        known = {**groups.get("required", {}), **groups.get("optional", {})}
        assert groups.get("required", {}).keys() <= node["inputs"].keys() <= known.keys()
        for name, value in node["inputs"].items():
            kind, *options = known[name]
            if isinstance(value, list):
                source = prompt[value[0]]["class_type"]
                assert object_info[source]["output"][value[1]] == kind
            elif kind in ("INT", "FLOAT"):
                assert options[0]["min"] <= value <= options[0]["max"]
            elif name not in FILE_INPUTS and (isinstance(kind, list) or kind == "COMBO"):
                assert value in (kind if isinstance(kind, list) else options[0]["options"])
    steered = [node for node in prompt.values() if node["class_type"] == "DiversitySparseRepellency"]
    saved = [node for node in prompt.values() if node["class_type"] == "DiversityRemember"]
    banks = [node for node in prompt.values() if node["class_type"] == "DiversityMemoryBank"]
    assert len(steered) == len(saved) == len(banks) == 1
    assert saved[0]["inputs"]["name"] == banks[0]["inputs"]["name"]
