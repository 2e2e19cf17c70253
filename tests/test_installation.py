"""The ways to install the package: a wheel, an editable install; tests/host/test_archive.py has the pack's folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from project.tree import ROOT, project_files
from support.bare_python import bare_environment, bare_python

IMPORT_EVERYTHING = """
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import diversity_guidance

assert Path(diversity_guidance.__file__).is_relative_to(sys.prefix), diversity_guidance.__file__
skipped = ("diversity_guidance.nodes", "diversity_guidance.__main__")
found = [found.name for found in walk_packages(diversity_guidance.__path__, "diversity_guidance.")]
for name in found:
    if not name.startswith(skipped):
        import_module(name)
print(len(found))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without its tests: a build writes into the folder."""
    folder = tmp_path_factory.mktemp("install") / "source"
    for path in project_files():
        if path.relative_to(ROOT).parts[0] != "tests":
            (copy := folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """The wheel that ``pip install .`` makes."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "./source"]
    subprocess.run(build, cwd=source.parent, check=True)
    (built,) = source.parent.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {
        f"diversity_guidance/{path.relative_to(ROOT).as_posix()}"
        for path in project_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] not in ("tests", "examples")
    }
    assert {name for name in found if name.endswith(".py")} == modules
    assert "diversity_guidance/py.typed" in found
    assert {Path(name).suffix for name in found} <= {
        ".py",
        ".typed",
        ".md",
        ".json",
        ".txt",
        ".jpg",
        ".png",
        ".safetensors",
        ".avif",
        ".js",
        ".css",
        "",
    }


def installed(folder: Path, *what: str) -> tuple[Path, Any]:
    """A Python into which pip has installed something, and how to run a command there."""
    python = bare_python(folder / "env")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", *what]
    subprocess.run(install, check=True)
    return python, partial(subprocess.run, cwd=folder, env=bare_environment(), capture_output=True, text=True)


def test_a_wheel_works(wheel: Path, tmp_path: Path) -> None:
    """All rooms can be imported, weights are found and the command runs."""
    python, run = installed(tmp_path, str(wheel))
    done = run([python, "-c", IMPORT_EVERYTHING])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200
    done = run([python, "-c", "from diversity_guidance.embedded.model import EmbeddedModel; EmbeddedModel.load(True)"])
    assert done.returncode == 0, done.stderr
    done = run([python.parent / "diversity-guidance", "--help"])
    assert done.returncode == 0, done.stderr
    assert "bench" in done.stdout


def test_an_editable_install_works(source: Path, tmp_path: Path) -> None:
    """What is changed in the folder is imported from there."""
    python, run = installed(tmp_path, "--no-build-isolation", "--editable", str(source))
    (source / "kernels" / "new.py").write_text("MARK = 7\n")
    done = run([python, "-c", "from diversity_guidance.kernels.new import MARK; print(MARK)"])
    assert done.stdout == "7\n", done.stderr
    done = run([python.parent / "diversity-guidance", "report", "none"])
    assert (done.returncode, done.stderr) == (2, "diversity-guidance report: There is no folder none.\n")
