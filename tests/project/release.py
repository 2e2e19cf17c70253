"""What must agree before a version is published: the tag, the files that name the version, and the changelog.

``python tests/project/release.py v1.2.3`` says what does not, and exits with 1 then.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

VERSIONS = {
    "pyproject.toml": r'^version = "(.+)"$',
    "__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
}
"""Files that name the version, and how."""


def versions(root: Path = ROOT) -> dict[str, str]:
    """The version that each file names.

    Raises:
        ValueError: a file names none, or several.
    """
    found = {}
    for name, pattern in VERSIONS.items():
        matches = re.findall(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        if len(matches) != 1:
            raise ValueError(f"{name} names {len(matches)} versions, not one.")
        found[name] = matches[0]
    return found


def released(root: Path = ROOT) -> list[str]:
    """The versions in the changelog, newest first; empty before the first release."""
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Why a tag such as "v1.2.3" must not be published, a sentence each; empty if it may be."""
    version = tag.removeprefix("v")
    found = [f"{name} says {named}, the tag {tag}." for name, named in versions(root).items() if named != version]
    if not tag.startswith("v"):
        found.append(f"The tag {tag} does not begin with v.")
    if released(root)[:1] != [version]:
        found.append(f"The newest dated section of CHANGELOG.md is not [{version}].")
    return found


def main(arguments: list[str]) -> int:
    """Print the problems of the tag that is given; 1 if there are any."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python tests/project/release.py TAG\n")
        return 2
    found = problems(arguments[0])
    sys.stdout.write("".join(f"{line}\n" for line in found) or f"{arguments[0]} may be published.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
