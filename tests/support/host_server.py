"""A real ComfyUI server for tests: on the CPU, in a folder of its own, with this pack as a custom node."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import diversity_guidance
import requests

from .host_client import HostClient

PACK = Path(diversity_guidance.__file__).parent
TEST_NODES = PACK / "tests" / "host" / "custom_node"
START_SECONDS = 300.0


def host_folder(variable: str, default: str) -> Path | None:
    """A ComfyUI checkout: where the environment variable points, or a usual place; None if there is none."""
    folder = Path(os.environ.get(variable) or default).expanduser()
    return folder if (folder / "main.py").is_file() else None


class HostServer:
    """A running server; a context that starts and ends it.

    Args:
        host: a ComfyUI checkout.
        base: an empty folder for everything that the server writes.
        extra_paths: what extra_model_paths.yaml says, or nothing.
    """

    def __init__(self, host: Path, base: Path, extra_paths: str = "") -> None:
        self.host = host
        self.base = base
        self.extra_paths = extra_paths
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
        for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        for name, folder in (("diversity-guidance", PACK), ("diversity-guidance-tests", TEST_NODES)):
            link = self.base / "custom_nodes" / name
            if not link.exists():
                link.symlink_to(folder, target_is_directory=True)
        command = [sys.executable, "main.py", "--cpu", "--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        if self.extra_paths:
            paths = self.base / "extra_paths.yaml"
            paths.write_text(self.extra_paths)
            command += ["--extra-model-paths-config", str(paths)]
        with (self.base / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.host, stdout=log, stderr=subprocess.STDOUT)
        return self

    def wait_until_ready(self) -> None:
        """Wait for the first answer.

        Raises:
            RuntimeError: the server ended instead, or needs too long.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended before it answered:\n{self.log[-3000:]}")
            try:
                self.client.get("/system_stats")
            except requests.ConnectionError:
                time.sleep(0.2)
            else:
                return
        raise RuntimeError(f"ComfyUI did not answer within {START_SECONDS:g} seconds:\n{self.log[-3000:]}")

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
