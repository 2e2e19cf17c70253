"""ComfyUI checkouts on this machine, each with the Python that starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import diversity_guidance
import pytest

from .missing import missing

PACK = Path(diversity_guidance.__file__).parent
SUFFIXES = ("", "_2", "_3")
"""Of COMFYUI_PATH and COMFYUI_PYTHON: most tests run on the first host, some of each kind on the others too."""

USUAL = ("~/comfy/ComfyUI-late", "~/comfy/ComfyUI-newer", "~/comfy/ComfyUI")
OWN_PYTHONS = (
    ".venv/bin/python",
    ".venv/Scripts/python.exe",
    "venv/bin/python",
    "venv/Scripts/python.exe",
    "python_embeded/python.exe",
    "../python_embeded/python.exe",
)
"""Where an installation of ComfyUI has a Python of its own."""


@dataclass(frozen=True)
class Checkout:
    """A ComfyUI and the Python that starts it."""

    folder: Path
    python: Path

    def __str__(self) -> str:
        said = (self.folder / "comfyui_version.py").read_text(encoding="utf-8")
        return f"ComfyUI {said.partition('__version__ = ')[2].strip().strip(chr(34))} in {self.folder}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of its processes: another Python finds nothing of this one's."""
        drop = () if self.python == Path(sys.executable) else ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        return {name: value for name, value in os.environ.items() if name not in drop}

    def lacking(self) -> list[str]:
        """Requirements of this pack that its Python does not have."""
        lines = (PACK / "requirements.txt").read_text(encoding="utf-8").split("\n")
        names = [found[0] for line in lines if (found := re.match(r"[A-Za-z0-9._-]+", line))]
        command = [str(self.python), "-c", LACKING, *names]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout.split()

    def refuse(self, reason: str, requirements: Path) -> NoReturn:
        """Skip the running test, or fail it where nothing may be skipped.

        Args:
            reason: why this host cannot be tested.
            requirements: a file whose installation may help.
        """
        remedy = f"{self.python} -m pip install -r {requirements}"
        missing(f"{self} cannot be tested with {self.python}: {reason}. What may help: {remedy}")


LACKING = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        version(name)
    except PackageNotFoundError:
        print(name)
"""


def checkouts() -> list[Checkout | None]:
    """The host of each place, None where there is none.

    A variable that is set to nothing leaves its place empty; one that is not set gets the next usual folder.

    Raises:
        ValueError: a variable points to a folder that is no ComfyUI.
    """
    named = [os.environ.get(f"COMFYUI_PATH{suffix}") for suffix in SUFFIXES]
    folders = [Path(name).expanduser().resolve() if name else None for name in named]
    usual = (Path(folder).expanduser().resolve() for folder in USUAL)
    free = (folder for folder in usual if (folder / "main.py").is_file() and folder not in folders)
    found: list[Checkout | None] = []
    for suffix, name, folder in zip(SUFFIXES, named, folders, strict=True):
        if folder is not None and not (folder / "main.py").is_file():
            raise ValueError(f"COMFYUI_PATH{suffix} is {folder}, and there is no ComfyUI: main.py is not in it.")
        chosen = next(free, None) if name is None else folder
        found.append(None if chosen is None else Checkout(chosen, _python(chosen, suffix)))
    return found


def checkout(place: int) -> Checkout:
    """The host of a place, the first of which is 0; skips or fails the running test where it cannot be tested."""
    try:
        found = checkouts()[place]
    except ValueError as error:
        missing(str(error))
    if found is None:
        pytest.skip(f"There is no {('first', 'second', 'third')[place]} ComfyUI: see Tests in CONTRIBUTING.md.")
    if lacking := found.lacking():
        found.refuse(f"{', '.join(lacking)} not installed", PACK / "requirements.txt")
    return found


def _python(folder: Path, suffix: str) -> Path:
    named = os.environ.get(f"COMFYUI_PYTHON{suffix}")
    own = (folder / place for place in OWN_PYTHONS)
    return Path(named) if named else next((path for path in own if path.is_file()), Path(sys.executable))


def main() -> None:
    """Print place, Python and folder of every host that is there, separated by tabs."""
    for place, found in enumerate(checkouts(), start=1):
        if found is not None:
            sys.stdout.write(f"{place}\t{found.python}\t{found.folder}\n")


if __name__ == "__main__":
    main()
