"""The files of the project as git knows them, and what pyproject.toml says."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


@lru_cache
def project_files() -> tuple[Path, ...]:
    """All files that are tracked or would be: whatever is not ignored, sorted.

    Raises:
        CalledProcessError: the folder is no git checkout.
    """
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    paths = (ROOT / name for name in done.stdout.decode().split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


@lru_cache
def archive_files() -> tuple[Path, ...]:
    """The files of the Comfy registry's archive: those of the project that .comfyignore does not name, sorted.

    Raises:
        CalledProcessError: the folder is no git checkout.
    """
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--ignored", "--exclude-from=.comfyignore"]
    done = subprocess.run(listing, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    left_out = {ROOT / name for name in done.stdout.decode().split("\0") if name}
    return tuple(path for path in project_files() if path not in left_out)


@lru_cache
def project_texts() -> dict[Path, str]:
    """The project's text files and what they hold; weights and images are passed over."""
    texts = {}
    for path in project_files():
        data = path.read_bytes()
        if b"\0" not in data[:1024]:
            texts[path] = data.decode("utf-8", errors="replace")
    return texts


@lru_cache
def pyproject() -> dict[str, Any]:
    """What pyproject.toml holds."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
