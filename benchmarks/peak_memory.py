"""Peak memory of a process; each measurement runs in a process of its own."""

from __future__ import annotations

from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    Raises:
        ValueError: the system does not say.
    """
    if _STATUS.exists():
        # With getrusage a process starts at the peak of its parent.
        return _status("VmHWM")
    try:
        import resource
    except ImportError as error:
        raise ValueError("Peak memory can be measured on Linux and macOS only.") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> int:
    """Reset the peak to the memory held now, and return that in bytes.

    Raises:
        ValueError: the system cannot.
    """
    if not _CLEAR.exists():
        raise ValueError("Peak memory can be reset on Linux only.")
    _CLEAR.write_text("5", encoding="ascii")
    return _status("VmRSS")


def _status(name: str) -> int:
    return next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(name)) * 1024
