"""How much memory a process has ever held at once: measurements run in processes of their own, so that it is theirs."""

from __future__ import annotations

from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    Raises:
        ValueError: the system does not tell.
    """
    if _STATUS.exists():
        # Not getrusage: there a process starts with the peak of the one that started it.
        return _status("VmHWM")
    try:
        import resource
    except ImportError as error:
        raise ValueError("Peak memory can be measured on Linux and macOS only.") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> int:
    """Let the peak start anew from what is held now, in bytes, which is returned.

    Raises:
        ValueError: the system cannot.
    """
    if not _CLEAR.exists():
        raise ValueError("Peak memory can be measured anew on Linux only.")
    _CLEAR.write_text("5", encoding="ascii")
    return _status("VmRSS")


def _status(name: str) -> int:
    return next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(name)) * 1024
