"""What other processes do to a Memory Bank: functions that they import by name."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from diversity_guidance.stores.bank import bank as bank_module
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.errors import BankError, BankWriteError
from diversity_guidance.stores.bank.shards import SHARD_BYTES
from diversity_guidance.stores.bank.transaction import BankTransaction
from support.random_latents import SHAPE, random_latents

NOBODY = 65534


def keep_appending(bank: MemoryBank, first_seed: int, count: int) -> None:
    """Append ``count`` times two latents, whose prompt is their seed."""
    for seed in range(first_seed, first_seed + count):
        bank.append(random_latents(2, seed=seed), latent_format="SD3", prompts=str(seed))


def pin_first(bank: MemoryBank) -> None:
    """Pin the oldest image."""
    bank.pin([bank.snapshot().entries[0].id])


def append_until_killed(bank: MemoryBank, first_seed: int, published: Connection) -> None:
    """Append for ever, and tell every seed that is through; small files are merged on the way."""
    bank_module.MERGED_AT = 6
    for seed in range(first_seed, first_seed + 10_000):
        bank.append(random_latents(3, seed=seed), latent_format="SD3", features={"x": random_latents(3)})
        published.send(seed)


def die_before_publishing(bank: MemoryBank) -> None:
    """End in the middle of an append, after the shard and before the index."""
    BankTransaction.publish = lambda *_: os._exit(0)  # type: ignore[method-assign]
    bank.append(random_latents(2, seed=1), latent_format="SD3")


def append_with_little_disk(bank: MemoryBank, limit: int, shape: tuple[int, ...], prompt: str) -> None:
    """Fail to append because no file may grow beyond ``limit`` bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(BankWriteError, match=r"free some space.*keeps what it had"):
        bank.append(random_latents(2, seed=1, shape=shape), latent_format="SD3", prompts=prompt)


def memory(field: str) -> int:
    """Bytes of this process in memory now (VmRSS) or at most so far (VmHWM)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def load_measured(bank: MemoryBank, shape: tuple[int, ...]) -> None:
    """Load a bank in the memory that it needs itself and a few shards."""
    bank.snapshot(1).matching("SD3", shape)  # brings in the code
    before = memory("VmRSS")
    latents = bank.snapshot().matching("SD3", shape).latents
    needed = memory("VmHWM") - before
    assert needed < latents.nbytes + 3 * SHARD_BYTES, f"{needed / SHARD_BYTES:.2f} shards"


def use_without_permission(bank: MemoryBank) -> None:
    """Read a bank that this user may not write, and one that it may not even read."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    assert torch.equal(bank.snapshot().matching("SD3", SHAPE).latents, random_latents(1).half())
    for attempt in (
        lambda: bank.append(random_latents(1, seed=1), latent_format="SD3"),
        bank.clear,
        bank.vacuum,
        lambda: MemoryBank(bank.folder.parent, "another").append(random_latents(1), latent_format="SD3"),
    ):
        with pytest.raises(BankWriteError, match="Make the folder writable"):
            attempt()
    hidden = MemoryBank(bank.folder.parent, "hidden")
    with pytest.raises(BankError, match="cannot be read"):
        hidden.snapshot()
