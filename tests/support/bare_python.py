"""A Python in which this package is not installed, not even as an editable one, but all that it needs is."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from pathlib import Path


def bare_python(folder: Path) -> Path:
    """Make a virtual environment in a folder that finds the libraries of this one; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars={"base": str(folder)}))
    # These folders are searched, but .pth files in them are not read, such as that of an editable install.
    libraries = [place for place in sys.path if Path(place).name == "site-packages"]
    (site / "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def bare_environment() -> dict[str, str]:
    """Environment variables of its processes."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
