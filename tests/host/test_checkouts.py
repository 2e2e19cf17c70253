"""Which ComfyUI the tests start with which Python, and what they say of one that does not start."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest
from support.host_checkouts import PACK, SUFFIXES, USUAL, Checkout, checkout, checkouts
from support.host_server import DidNotStart, HostServer
from support.missing import SWITCH

MISSING = "a_library_that_nobody_has"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and none of the variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for suffix in SUFFIXES:
        monkeypatch.delenv(f"COMFYUI_PATH{suffix}", raising=False)
        monkeypatch.delenv(f"COMFYUI_PYTHON{suffix}", raising=False)
    monkeypatch.delenv(SWITCH, raising=False)
    return tmp_path


def make_host(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(f"import {MISSING}\n")
    (folder / "comfyui_version.py").write_text('# generated\n\n__version__ = "0.99.1"\n')
    return folder.resolve()


def folders() -> list[Path | None]:
    return [found and found.folder for found in checkouts()]


def test_usual_folders_fill_the_places_in_their_order() -> None:
    old = make_host(Path(USUAL[2]).expanduser())
    assert folders() == [old, None, None]
    late = make_host(Path(USUAL[0]).expanduser())
    assert folders() == [late, old, None]


def test_variables_go_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, mine = make_host(Path(USUAL[0]).expanduser()), make_host(home / "mine")
    monkeypatch.setenv("COMFYUI_PATH", str(mine))
    assert folders() == [mine, usual, None]
    monkeypatch.setenv("COMFYUI_PATH_2", "")
    assert folders() == [mine, None, usual]
    monkeypatch.setenv("COMFYUI_PATH_3", str(home))
    with pytest.raises(ValueError, match=r"COMFYUI_PATH_3 is .*main.py is not in it"):
        checkouts()
    with pytest.raises(pytest.skip.Exception, match="COMFYUI_PATH_3 is"):
        checkout(0)


@pytest.mark.parametrize("place", [".venv/bin/python", "venv/Scripts/python.exe", "../python_embeded/python.exe"])
def test_its_own_python_starts_it(home: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    host = make_host(home / "portable" / "ComfyUI")
    monkeypatch.setenv("COMFYUI_PATH", str(host))
    assert checkouts()[0] == Checkout(host, Path(sys.executable))
    python = host / place
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv("PYTHONPATH", "libraries of another Python")
    assert checkouts()[0] == (found := Checkout(host, python))
    assert "PYTHONPATH" not in found.environment
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    assert checkouts()[0] == (found := Checkout(host, Path(sys.executable)))
    assert "PYTHONPATH" in found.environment


def test_what_the_pack_needs_must_be_in_its_python(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = make_host(home / "ComfyUI")
    venv.create(host / ".venv", with_pip=False, symlinks=True)
    monkeypatch.setenv("COMFYUI_PATH", str(host))
    with pytest.raises(pytest.skip.Exception) as told:
        checkout(0)
    assert "ComfyUI 0.99.1 in" in str(told.value)
    assert "numpy, scipy" in str(told.value)
    assert f"-m pip install -r {PACK / 'requirements.txt'}" in str(told.value)
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    assert checkout(0).lacking() == []


@pytest.mark.parametrize("switch", ["", "1"])
def test_one_that_does_not_start_says_what_it_lacks(home: Path, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    """A skip with the remedy; in continuous integration a failure."""
    monkeypatch.setenv(SWITCH, switch)
    host = Checkout(make_host(home / "ComfyUI"), Path(sys.executable))
    with HostServer(host, home / "base") as server, pytest.raises(DidNotStart) as reason:
        server.wait_until_ready()
    assert str(reason.value) == f"No module named '{MISSING}'"
    outcome = pytest.fail.Exception if switch else pytest.skip.Exception
    with pytest.raises(outcome, match=rf"cannot be tested with .*{MISSING}.*pip install -r .*requirements.txt"):
        host.refuse(str(reason.value), host.folder / "requirements.txt")


def test_no_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    with pytest.raises(pytest.skip.Exception, match="There is no second ComfyUI"):
        checkout(1)
