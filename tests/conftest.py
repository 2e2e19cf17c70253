"""Options of the whole suite, and real ComfyUI servers: one process each for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host_checkouts import checkout
from support.host_client import HostClient
from support.host_server import DidNotStart, HostServer

MOVED_BANKS = "moved:\n  base_path: {base}\n  diversity_banks: elsewhere\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="also run long measurements")
    parser.addoption("--write-definitions", action="store_true", help="write the snapshot of the nodes' definitions")
    parser.addoption("--screenshots", type=Path, help="a folder that keeps what the graph editor shows in its tests")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite, one of which drives the hosts; no further one where tests are named."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    config.option.dist = "loadgroup"
    return 2


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="a long measurement: run with --campaign")
    for item in items:
        if item.get_closest_marker("campaign") and not config.getoption("--campaign"):
            item.add_marker(skip)
        if item.path.parent.name in ("host", "browser") or "server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("hosts"))


def _started(place: int, base_factory: pytest.TempPathFactory, extra_paths: str = "") -> Iterator[HostServer]:
    host = checkout(place)
    base = base_factory.mktemp("host")
    with HostServer(host, base, extra_paths.format(base=base)) as server:
        try:
            server.wait_until_ready()
        except DidNotStart as error:
            host.refuse(str(error), host.folder / "requirements.txt")
        loaded = {"DiversityDemoModel", "TestProbe"} & server.client.object_info().keys()
        assert len(loaded) == 2, f"{host} did not load the pack and the nodes of its tests:\n{server.log[-5000:]}"
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    """The host that most tests run on."""
    yield from _started(0, tmp_path_factory)


@pytest.fixture(scope="session", params=[1, 2], ids=["second host", "third host"])
def other_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    """Each host of another age; extra_model_paths.yaml has moved its banks."""
    yield from _started(request.param, tmp_path_factory, MOVED_BANKS)


@pytest.fixture
def client(server: HostServer) -> HostClient:
    """The client of the host that most tests run on."""
    return server.client
