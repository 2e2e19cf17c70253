"""Progress on stderr: one line rewritten in place on a terminal, or a line for every tenth elsewhere."""

from __future__ import annotations

import sys
import time

from ..features.image_files import Progress

# Seconds after which the pace so far says something of the rest.
_WARM_UP = 2.0


def progress_line(title: str, things: str = "images") -> Progress:
    """A function to call with (things done, things in total). It also says how much time is left.

    Args:
        title: beginning of the line.
        things: what is counted.
    """
    told = 0
    clock = Clock()
    width = 0

    def tell(done: int, total: int) -> None:
        nonlocal told, width
        left = clock.left(done, total)
        line = f"{title}: {done:,} of {total:,} {things}" + (f", {left}" if left else "")
        if sys.stderr.isatty():
            # Spaces erase the rest of a longer line.
            sys.stderr.write(f"\r{line:{width}}" + "\n" * (done == total))
            width = len(line)
        elif done == total or done * 10 // total > told:
            sys.stderr.write(f"{line}\n")
        told = done * 10 // total

    return tell


class Clock:
    """How much time is left, at the pace so far."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def left(self, done: int, total: int) -> str:
        """Such as "about 3 min left"; "" while the pace is unknown, and at the end."""
        elapsed = time.monotonic() - self._start
        if not 0 < done < total or elapsed < _WARM_UP:
            return ""
        return f"about {_duration(elapsed / done * (total - done))} left"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
