"""The report's files, in the host's output folder only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths


def check_prefix(prefix: str) -> None:
    """Check that a prefix stays in the output folder.

    Raises:
        ValueError: it does not.
    """
    root = _output_folder()
    if not Path(os.path.normpath(root / prefix)).parent.is_relative_to(root):
        raise ValueError(
            f'The prefix "{prefix}" leads out of the output folder. Give a name, or a folder in it and a name.'
        )


def write_report(prefix: str, content: Mapping[str, Any], table: str) -> str:
    """Write JSON and CSV side by side, under the next free number.

    Args:
        prefix: as in the host's saving nodes: folders in the output folder, a name, and dates such as %year%.
        content: of the JSON file; plain data and finite numbers.
        table: text of the CSV file.

    Returns:
        A sentence that says where the files are, or why they could not be written: a full disk must not lose images.
    """
    try:
        check_prefix(prefix)
        folder, name, counter, *_ = folder_paths.get_save_image_path(prefix, str(_output_folder()))
        stem = f"{name}_{counter:05}_"
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        (Path(folder) / f"{stem}.json").write_text(text, encoding="utf-8")
        (Path(folder) / f"{stem}.csv").write_text(table, encoding="utf-8")
    except (OSError, ValueError) as error:
        return f"No files were written: {error}"
    return f"Written to {(Path(folder) / stem).relative_to(_output_folder()).as_posix()}.json and .csv."


def _output_folder() -> Path:
    return Path(os.path.normpath(Path(folder_paths.get_output_directory()).absolute()))
