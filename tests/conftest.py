"""Options of the whole suite, and real ComfyUI servers: one process each for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.host_client import HostClient
from support.host_server import HostServer, host_folder

OLD_HOST = "COMFYUI_PATH", "~/comfy/ComfyUI"
NEW_HOST = "COMFYUI_PATH_2", "~/comfy/ComfyUI-newer"
MOVED_BANKS = "moved:\n  base_path: {base}\n  diversity_banks: elsewhere\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="also run long measurements")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--campaign"):
        return
    skip = pytest.mark.skip(reason="a long measurement: run with --campaign")
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker(skip)


def _started(
    where: tuple[str, str], base_factory: pytest.TempPathFactory, extra_paths: str = ""
) -> Iterator[HostServer]:
    variable, default = where
    folder = host_folder(variable, default)
    if folder is None:
        pytest.skip(f"there is no ComfyUI in {default}; point {variable} at a checkout with its requirements installed")
    base = base_factory.mktemp("host")
    with HostServer(folder, base, extra_paths.format(base=base)) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    """The host that most tests run on."""
    yield from _started(OLD_HOST, tmp_path_factory)


@pytest.fixture(scope="session")
def newer_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    """A host of another age, whose banks extra_model_paths.yaml has moved."""
    yield from _started(NEW_HOST, tmp_path_factory, MOVED_BANKS)


@pytest.fixture
def client(server: HostServer) -> HostClient:
    """The client of the host that most tests run on."""
    return server.client
