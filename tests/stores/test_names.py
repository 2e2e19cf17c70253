"""A bank's name is a folder's name on every system, never a path."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.files import validate_name
from hypothesis import given
from hypothesis import strategies as st

REFUSED = [
    "", "  ", ".", "..", "a/b", "a\\b", "/etc", "C:", "C:bank", "../up", "a..b", ".hidden", "end.", "end ", " start",
    "nul", "CON", "com1", "LPT9.txt", "aux .bank", "tab\tbed", "null\0byte", "line\nbreak", "a" * 65, "q?", "st*r",
    "\ud800", "👩" * 64, "ban\u200bk", "\u202eknab", "bank\u200d", "ba\u200dnk", "\ufeffbank", "a" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_is_no_folder_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^The bank"):
        MemoryBank(tmp_path, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [7, None, ["bank"], b"bank", 0.5])
def test_refuses_what_is_no_text(name: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^The bank's name must be text"):
        MemoryBank(tmp_path, name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["portraits", "my bank-2_x", "v1.5", "Größe", "写真", "console", "a" * 64, "👩‍🚀"])
def test_takes_ordinary_names(name: str) -> None:
    assert validate_name(name, "bank") == name


def test_equal_looking_names_are_one_bank() -> None:
    assert validate_name(unicodedata.normalize("NFD", "Größe"), "bank") == unicodedata.normalize("NFC", "Größe")


@given(st.text(max_size=80))
def test_a_taken_name_stays_inside_the_root(name: str) -> None:
    try:
        taken = validate_name(name, "bank")
    except ValueError:
        return
    root = Path("/banks")
    assert (root / taken).resolve().parent == root.resolve()
    assert validate_name(taken, "bank") == taken
