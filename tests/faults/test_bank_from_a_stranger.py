"""A bank from a stranger harms nothing outside itself, takes no memory and no time, and says what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from diversity_guidance.guidance.base import Guidance, SamplingRun
from diversity_guidance.guidance.repellency.guidance import SparseRepellency
from diversity_guidance.guidance.vendi.guidance import VendiGuidance
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import BankError
from support.processes import finish, start
from support.random_latents import SHAPE
from support.strangers import COUNT, FOREIGN, NONSENSE, change, filled, use_everything

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes: run it on Linux or macOS")


@pytest.fixture
def theirs(tmp_path: Path) -> MemoryBank:
    return filled(tmp_path / "banks")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the user's; a bank lies beside its folder."""
    path = tmp_path / "outside" / "victim.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"x" * 100)
    return path


def test_nothing_outside_is_touched_and_every_failure_is_a_sentence(tmp_path: Path) -> None:
    """In a process that may take 6 GiB, and 20 seconds for each bank."""
    finish(start(use_everything, tmp_path))


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_named_and_the_rest_goes_on(theirs: MemoryBank, case: str) -> None:
    names = [entry.id[:12] for entry in theirs.snapshot().entries]
    NONSENSE[case](theirs)
    view = theirs.snapshot().matching("SD3", SHAPE)
    assert [entry.id[:12] for entry in view.entries] == (names if case == "one part for many" else names[COUNT:])
    told = " ".join(view.passed_over)
    assert all(name in told or f"Entry {place + 1}" in told for place, name in enumerate(names[:COUNT]))
    assert theirs.verify(), "verify tells of it, too"
    theirs.repair()
    assert theirs.verify() == ()
    after = theirs.snapshot().matching("SD3", SHAPE)
    assert after.entries == view.entries and after.passed_over == ()


def test_text_that_is_none_hides_no_entry(theirs: MemoryBank) -> None:
    change(theirs, "UPDATE entries SET prompt = CAST(x'ff41' AS TEXT) WHERE position = 1")
    assert len(theirs.snapshot().matching("SD3", SHAPE)) == COUNT + 1
    assert theirs.snapshot().entries[0].prompt == "\ufffdA"


@pytest.mark.parametrize("case", ["NaN", "missing rows", "prompt of bytes", "another size"])
@pytest.mark.parametrize("method", [SparseRepellency.name, VendiGuidance.name])
def test_a_run_says_what_could_not_be_read(theirs: MemoryBank, case: str, method: str) -> None:
    """Entries of another size are no damage."""
    if case == "another size":
        theirs.append(torch.ones(COUNT, SHAPE[0], 9, 9), latent_format="SD3")
    else:
        NONSENSE[case](theirs)
    bank = theirs.snapshot()
    guidance: Guidance = (
        SparseRepellency(sources=[bank]) if method == SparseRepellency.name else VendiGuidance(bank=bank)
    )
    guidance.begin(SamplingRun(2, SHAPE, torch.tensor([1.0, 0.5, 0.0]), torch.device("cpu"), "SD3", 0))
    told = " ".join(guidance.trace.notes)
    assert (f"{COUNT} entries of the bank 'theirs' could not be read. " in told) == (case != "another size")
    assert ("size" in told) == (case == "another size")
    assert guidance.trace.summary().endswith(told)


@pytest.mark.parametrize("case", FOREIGN)
def test_what_no_bank_writes_is_told(theirs: MemoryBank, victim: Path, case: str) -> None:
    FOREIGN[case](theirs)
    try:
        view = theirs.snapshot().matching("SD3", SHAPE)
    except BankError as error:
        assert str(error).endswith(".")
    else:
        # So small a file cannot hold them, or is none of the bank's: it was not even looked at.
        assert len(view) == 1 and len(view.passed_over) >= COUNT


def test_a_path_outside_is_dropped_and_not_followed(theirs: MemoryBank, victim: Path) -> None:
    FOREIGN["a path outside"](theirs)
    assert not any(damage.shard for damage in theirs.verify())
    assert len(theirs.repair().dropped) == COUNT and theirs.verify() == ()
    theirs.vacuum()
    assert victim.read_bytes() == b"x" * 100 and len(theirs.snapshot().matching("SD3", SHAPE)) == 1
