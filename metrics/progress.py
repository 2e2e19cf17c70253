"""A line on stderr that counts: rewritten in place on a terminal, written every tenth of the way elsewhere."""

from __future__ import annotations

import sys

from ..features.image_files import Progress


def progress_line(title: str, things: str = "images") -> Progress:
    """What is to be told (things done, things in all).

    Args:
        title: what the line begins with.
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
