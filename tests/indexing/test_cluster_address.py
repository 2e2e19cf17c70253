"""A Ray address at which nothing answers is told at once, before Ray itself waits for it; with a stand-in for Ray."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from diversity_guidance.cli import main


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ray was asked to connect to; it fails as Ray does where it knows no cluster."""
    calls: list[dict[str, Any]] = []

    def init(**arguments: Any) -> None:
        calls.append(arguments)
        raise ConnectionError("no cluster")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    return calls


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def build(pictures: Path, tmp_path: Path, address: str) -> int:
    return main(["index", "build", str(tmp_path / "index"), str(pictures), "--space", "layout", "--ray", address])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_nothing_answers(
    pictures: Path,
    tmp_path: Path,
    asked: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    scheme: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    assert build(pictures, tmp_path, f"{scheme}127.0.0.1:{closed}") == 2
    told = capsys.readouterr().err
    assert f"The Ray cluster at {scheme}127.0.0.1:{closed} cannot be reached (" in told and "check its address" in told
    assert not asked and not (tmp_path / "index").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "no-such-machine:6379"])
def test_no_such_port_or_machine(
    pictures: Path,
    tmp_path: Path,
    asked: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
) -> None:
    resolve = socket.getaddrinfo

    def known(host: str, *arguments: Any) -> Any:
        if host == "no-such-machine":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    assert build(pictures, tmp_path, address) == 2
    assert f"The Ray cluster at {address} cannot be reached (" in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize("address", ["auto", "local", "127.0.0.1", "127.0.0.1:", "guess"])
def test_what_is_no_address_of_a_machine_is_left_to_ray(
    pictures: Path, tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert build(pictures, tmp_path, address) == 2
    assert [call["address"] for call in asked] == [address]
    assert f"The Ray cluster at {address} cannot be reached (no cluster)" in capsys.readouterr().err


def test_what_answers_is_handed_to_ray(pictures: Path, tmp_path: Path, asked: list[dict[str, Any]], port: int) -> None:
    assert build(pictures, tmp_path, f"127.0.0.1:{port}") == 2
    assert [call["address"] for call in asked] == [f"127.0.0.1:{port}"]
