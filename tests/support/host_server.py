"""A real ComfyUI server for tests: on the CPU, in a folder of its own, with this pack as a custom node."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from .host_checkouts import PACK, Checkout, checkouts
from .host_client import HostClient

TEST_NODES = PACK / "tests" / "host" / "custom_node"
START_SECONDS = 300.0


class DidNotStart(Exception):
    """The server ended before it answered, or never answered; the text is why."""


class HostServer:
    """A running server; a context that starts and ends it.

    Args:
        host: the ComfyUI.
        base: an empty folder for everything that the server writes.
        extra_paths: what extra_model_paths.yaml says, or nothing.
        linked: whether the pack of this checkout and the nodes of its tests are linked into the folder.
    """

    def __init__(self, host: Checkout, base: Path, extra_paths: str = "", *, linked: bool = True) -> None:
        self.host = host
        self.base = base
        self.extra_paths = extra_paths
        self.linked = linked
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.client = HostClient(f"http://127.0.0.1:{self.port}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the server printed so far."""
        return (self.base / "server.log").read_text(errors="replace")

    @property
    def processor_seconds(self) -> float:
        """Processor time that the server took so far; psutil comes with the host."""
        import psutil

        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def launch(self) -> HostServer:
        """Start the process without waiting for it."""
        for name in ("custom_nodes", "models", "input", "output", "temp", "user", "packages"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        links = {
            "custom_nodes/diversity-guidance": PACK,
            "custom_nodes/diversity-guidance-tests": TEST_NODES,
            # The tests' nodes import the pack as a package, which need not be installed where the host runs.
            "packages/diversity_guidance": PACK,
        }
        for name, folder in links.items() if self.linked else ():
            if not (self.base / name).exists():
                (self.base / name).symlink_to(folder, target_is_directory=True)
        command = [str(self.host.python), "main.py", "--cpu", "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        if self.extra_paths:
            paths = self.base / "extra_paths.yaml"
            paths.write_text(self.extra_paths)
            command += ["--extra-model-paths-config", str(paths)]
        search = [str(self.base / "packages"), self.host.environment.get("PYTHONPATH", "")]
        environment = {**self.host.environment, "PYTHONPATH": os.pathsep.join(filter(None, search))}
        with (self.base / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.host.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def wait_until_ready(self) -> None:
        """Wait for the first answer.

        Raises:
            DidNotStart: it ended instead, or needs too long.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                raise DidNotStart(_reason(self.log))
            try:
                self.client.get("/system_stats")
            except requests.ConnectionError:
                time.sleep(0.2)
            else:
                return
        raise DidNotStart(f"no answer within {START_SECONDS:g} seconds; its log ends with\n{self.log[-3000:]}")

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> HostServer:
        return self.launch()

    def __exit__(self, *_: object) -> None:
        self.end()


def _reason(log: str) -> str:
    found = re.findall(r"^ModuleNotFoundError: (No module named '[^']+')", log, re.MULTILINE)
    return found[-1] if found else f"it ended before it answered; its log ends with\n{log[-3000:]}"


@contextmanager
def first_host() -> Iterator[HostServer]:
    """The first host, ready, for a script that writes files of the project."""
    host = checkouts()[0]
    if host is None:
        raise SystemExit("There is no ComfyUI: point COMFYUI_PATH at a checkout.")
    with tempfile.TemporaryDirectory() as folder, HostServer(host, Path(folder)) as server:
        server.wait_until_ready()
        yield server
