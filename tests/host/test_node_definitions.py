"""Every node's id, inputs and outputs in their order, as saved workflows rely on them.

``pytest tests/host/test_node_definitions.py --write-definitions`` writes the snapshot from the first host.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project.node_definitions import breaking_changes, definitions
from support.host_client import HostClient
from support.host_server import HostServer
from support.node_ids import node_classes

SNAPSHOT = Path(__file__).parent / "node_definitions.json"
REFRESH = "pytest tests/host/test_node_definitions.py --write-definitions"


def test_nothing_that_saved_workflows_hold_has_changed(client: HostClient, request: pytest.FixtureRequest) -> None:
    found = definitions(client.object_info())
    if request.config.getoption("--write-definitions"):
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    saved = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    broken = breaking_changes(saved, found)
    assert broken == [], f"saved workflows would break. Before the first release, write the snapshot anew: {REFRESH}"
    assert found == saved, f"something is new, and nothing breaks. Write the snapshot anew: {REFRESH}"


def test_every_node_is_in_the_snapshot() -> None:
    assert json.loads(SNAPSHOT.read_text(encoding="utf-8")).keys() == node_classes().keys()


def test_other_hosts_show_the_same(other_server: HostServer) -> None:
    saved = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert breaking_changes(saved, definitions(other_server.client.object_info())) == []
