"""Find the files of one kind in a folder, and report everything that was passed over."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .image_signatures import ENDINGS, image_kind

_SHOWN = 300


@dataclass(frozen=True)
class FoundFiles:
    """The contents of a folder.

    Attributes:
        root: the folder.
        paths: of the files of the kind, sorted; they have not been read yet.
        passed_over: names of all other entries, and why each was passed over; names of folders end in "/".
    """

    root: Path
    paths: tuple[Path, ...]
    passed_over: tuple[tuple[str, str], ...]

    def name(self, path: Path) -> str:
        """Path of a file relative to the root, printable in every encoding."""
        return printable(path.relative_to(self.root).as_posix())

    def names(self) -> list[str]:
        """Names of all files."""
        return [self.name(path) for path in self.paths]

    def passed_over_below(self) -> list[tuple[str, str]]:
        """``passed_over`` with paths that include the root."""
        return [(f"{printable(self.root.as_posix())}/{name}", reason) for name, reason in self.passed_over]


def find_images(root: Path, within: Path | None = None, subfolders: bool = True) -> FoundFiles:
    """Find the images of a folder by their first bytes, or by their endings if they are damaged.

    Args:
        root: the folder.
        within: links out of this folder are not followed; None follows all links.
        subfolders: whether to search subfolders.

    Raises:
        ValueError: the folder does not exist, cannot be opened, or holds no image.
    """
    return find_files(root, "image", _is_image, within, subfolders)


def find_files(
    root: Path, kind: str, is_wanted: Callable[[Path], bool], within: Path | None = None, subfolders: bool = True
) -> FoundFiles:
    """Find the files of a kind. Links are followed, each folder is searched once, and hidden files are passed over.

    Args:
        root: the folder.
        kind: one word for the files, such as "image".
        is_wanted: whether a path is of the kind.
        within: links out of this folder are not followed; None follows all links.
        subfolders: whether to search subfolders.

    Raises:
        ValueError: the folder does not exist, cannot be opened, or holds no such file.
    """
    if not _is_folder(root):
        raise ValueError(f"There is no folder {printable(str(root))[:_SHOWN]}.")
    search = _Search(root, kind, is_wanted, None if within is None else within.resolve(), subfolders)
    paths = tuple(sorted(search.files()))
    passed_over = tuple(sorted(search.passed_over))
    if not paths:
        raise ValueError(f"{printable(str(root))} holds no {kind}s. {summary(passed_over)}".rstrip())
    return FoundFiles(root, paths, passed_over)


def folder_below(base: Path, name: str) -> Path:
    """The folder of a name below another folder, such as the host's input directory.

    Raises:
        ValueError: the name does not lead below ``base``.
    """
    base = base.resolve()
    try:
        path = (base / name).resolve()
    except (OSError, ValueError) as error:
        raise ValueError(
            f'"{printable(name)[:_SHOWN]}" is not a folder name ({error}). Give the name of one inside {base.name}.'
        ) from error
    if not name.strip() or path == base or base not in path.parents:
        raise ValueError(
            f'"{printable(name)[:_SHOWN]}" is not a folder below the {base.name} directory. Give the name of one '
            "inside it."
        )
    return path


def printable(text: str) -> str:
    """Replace what UTF-8 cannot encode, such as other bytes in file names, by escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def summary(passed_over: tuple[tuple[str, str], ...]) -> str:
    """One sentence that counts passed-over entries by reason; "" for none."""
    if not passed_over:
        return ""
    reasons = [reason for _, reason in passed_over]
    counts = ", ".join(f"{reasons.count(reason):,} {reason}" for reason in sorted(set(reasons)))
    return f"{len(reasons):,} passed over: {counts}."


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # A name that is too long, or holds a zero.
        return False


class _Search:
    def __init__(
        self, root: Path, kind: str, is_wanted: Callable[[Path], bool], within: Path | None, subfolders: bool
    ) -> None:
        self.root = root
        self.kind = kind
        self.is_wanted = is_wanted
        self.within = within
        self.subfolders = subfolders
        # A link to a parent of the root would lead to everything else in it.
        self.entered = {_identity(folder) for folder in root.resolve().parents}
        self.passed_over: list[tuple[str, str]] = []

    def files(self) -> Iterator[Path]:
        """All files of the kind, links last: files below the root are known by their own names."""
        links: list[Path] = []
        yield from self._walk(self.root, links)
        while links:
            yield from self._entry(links.pop(0), links)

    def _walk(self, folder: Path, links: list[Path]) -> Iterator[Path]:
        self.entered.add(_identity(folder))
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            if folder == self.root:
                raise ValueError(f"{printable(str(folder))} cannot be opened ({error.strerror}).") from error
            self._pass_over(folder, f"unreadable ({error.strerror})", "/")
            return
        links += [path for path in entries if path.is_symlink()]
        for path in entries:
            if not path.is_symlink():
                yield from self._entry(path, links)

    def _entry(self, path: Path, links: list[Path]) -> Iterator[Path]:
        if reason := self._obstacle(path):
            self._pass_over(path, reason, "/" if path.is_dir() else "")
        elif path.is_dir():
            yield from self._walk(path, links)
        else:
            yield path

    def _obstacle(self, path: Path) -> str:
        """Why a path is neither a file of the kind nor a folder to search; "" if it is one."""
        if path.name.startswith("."):
            return "hidden"
        try:
            mode = path.stat().st_mode
            if self.within is not None and path.is_symlink() and self.within not in path.resolve().parents:
                return "link out of the folder that is allowed"
        except (OSError, RuntimeError):
            return "broken link"
        if not stat.S_ISDIR(mode):
            return (
                ""
                if stat.S_ISREG(mode) and self.is_wanted(path)
                else f"not {'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"
            )
        if not self.subfolders:
            return "subfolder"
        return "link to a folder that is read already" if _identity(path) in self.entered else ""

    def _pass_over(self, path: Path, reason: str, ending: str) -> None:
        self.passed_over.append((printable(path.relative_to(self.root).as_posix()) + ending, reason))


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in ENDINGS:
        return True
    try:
        return bool(image_kind(path))
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int] | str:
    """Identity of a folder across paths; some file systems have no inode numbers."""
    state = folder.stat()
    return (state.st_dev, state.st_ino) if state.st_ino else str(folder.resolve())
