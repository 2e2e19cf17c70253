"""Names of banks and centroids: a name is that of a file on every system, never a path."""

from __future__ import annotations

import unicodedata

LONGEST_NAME = 64
LONGEST_FILE_NAME = 255  # bytes, the limit of common file systems
FORBIDDEN = frozenset('/\\:*?"<>|')
# Windows gives these to devices, whatever follows a dot.
DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"]
)


def validate_bank_name(name: str) -> str:
    """Return a bank's name as ``validate_name`` does.

    Raises:
        ValueError: the name is empty, longer than 64 characters, or could reach another folder or a device.
    """
    return validate_name(name, "bank")


def validate_name(name: str, what: str) -> str:
    """Return the name in Unicode's composed form if it can be a file's name on Windows, macOS and Linux.

    Args:
        name: as the user gave it.
        what: the thing that it names, such as "bank".

    Raises:
        ValueError: the name is empty, longer than 64 characters, or could reach another folder or a device.
    """
    name = unicodedata.normalize("NFC", name)
    if not name.strip():
        raise ValueError(f"The {what} has no name. Give it one, such as 'portraits'.")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise ValueError(
            f"The {what}'s name {name!r} holds a control character. Use letters, digits, spaces, '-' and '_'."
        )
    if len(name) > LONGEST_NAME or len(name.encode()) > LONGEST_FILE_NAME:
        raise ValueError(f"The {what}'s name is {len(name)} characters long. Use at most {LONGEST_NAME}.")
    if found := sorted(FORBIDDEN.intersection(name)):
        raise ValueError(
            f"The {what}'s name {name!r} holds {found[0]!r}. Give a name, not a path: letters, digits, spaces, "
            "'-' and '_'."
        )
    if name[0] in ". " or name[-1] in ". " or ".." in name:
        raise ValueError(
            f"The {what}'s name {name!r} begins or ends with a dot or a space, or holds '..'. Give a name, not a path."
        )
    if name.split(".")[0].rstrip().upper() in DEVICES:
        raise ValueError(
            f"The {what}'s name {name!r} belongs to a device on Windows. Choose another, such as 'my {name}'."
        )
    return name
