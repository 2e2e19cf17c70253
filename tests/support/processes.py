"""Other processes for tests, which never outlive them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

PATIENCE = 120
"""Seconds after which a process is taken to hang; a busy machine needs some to import torch."""


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Run an importable function in a process of its own.

    Not in a plain fork: threads do not survive one, and a copy of a process whose tensor library has started its
    threads waits for them for ever. The server that is forked instead has imported that library and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "diversity_guidance.stores.bank.bank", "pytest"])
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def finish(*processes: ForkServerProcess) -> None:
    """Wait for processes whose assertions must hold."""
    for process in processes:
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
        assert process.exitcode == 0
