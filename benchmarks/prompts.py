"""Prompts that no default was tuned on; those of the tuning are in `modes`."""

from __future__ import annotations

from pathlib import Path

HELD_OUT = Path(__file__).parent / "prompts_held_out.txt"
"""24 prompts with 12 to 36 known modes, 25.0 on average, and no concept of `modes.PROMPTS`."""


def read_prompts(path: Path = HELD_OUT) -> list[str]:
    """The prompts of a text file, one a line; empty lines are left out.

    Raises:
        ValueError: there is no such file, it is no UTF-8 text, or it holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The prompts in {path} cannot be read ({error}): give a text file.") from error
    if prompts := [line.strip() for line in lines if line.strip()]:
        return prompts
    raise ValueError(f"{path} holds no prompt: write one a line.")
