"""Progress on stderr: one line rewritten in place on a terminal, or a line for every tenth elsewhere."""

from __future__ import annotations

import sys

from ..features.image_files import Progress


def progress_line(title: str, things: str = "images") -> Progress:
    """A function to call with (things done, things in total).

    Args:
        title: beginning of the line.
        things: what is counted.
    """
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{title}: {done:,} of {total:,} {things}" + "\n" * (done == total))
        elif done == total or done * 10 // total > told:
            sys.stderr.write(f"{title}: {done:,} of {total:,} {things}\n")
        told = done * 10 // total

    return tell
