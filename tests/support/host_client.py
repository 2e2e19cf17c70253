"""A small client of ComfyUI's HTTP API."""

from __future__ import annotations

import io
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load
from torch import Tensor

Prompt = dict[str, dict[str, Any]]


class PromptRefused(Exception):
    """The server refused a prompt before running it; the text is what its user reads."""


class RunFailed(Exception):
    """A node failed; the text is its message."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        outputs: what each output node showed.
        cached: nodes whose outputs were not computed again.
        status: "success", "error" or "interrupted".
        message: what went wrong, if anything.
        error: the type of the exception, by its name with its module unless it is built in.
    """

    outputs: dict[str, dict[str, Any]]
    cached: frozenset[str]
    status: str
    message: str = ""
    error: str = ""


class HostClient:
    """Talks to one server.

    Args:
        address: such as http://127.0.0.1:8188.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.client_id = uuid.uuid4().hex
        self.session = requests.Session()

    def get(self, path: str, **parameters: Any) -> requests.Response:
        """GET a path."""
        response = self.session.get(f"{self.address}{path}", params=parameters, timeout=60)
        response.raise_for_status()
        return response

    def object_info(self) -> dict[str, Any]:
        """Every node that the server knows."""
        return self.get("/object_info").json()

    def set(self, setting: str, value: Any) -> None:
        """Change a setting of the graph editor."""
        self.session.post(f"{self.address}/settings/{setting}", json=value, timeout=60).raise_for_status()

    def queue(self, prompt: Prompt, extra_data: dict[str, Any] | None = None) -> str:
        """Queue a prompt and return its id.

        Args:
            prompt: the graph.
            extra_data: what goes along; as the editor sends it unless it is given.

        Raises:
            PromptRefused: it is not valid.
        """
        # Python's JSON writes NaN, which the server's reads.
        extra = {"extra_pnginfo": {"workflow": {}}} if extra_data is None else extra_data
        body = json.dumps({"prompt": prompt, "client_id": self.client_id, "extra_data": extra})
        response = self.session.post(f"{self.address}/prompt", data=body, timeout=60)
        if response.status_code == 400:
            answer = response.json()
            errors = [error for node in answer["node_errors"].values() for error in node["errors"]]
            raise PromptRefused(" ".join(f"{error['message']}: {error['details']}" for error in errors) or str(answer))
        response.raise_for_status()
        return response.json()["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 300.0) -> Run:
        """Wait for the end of a run."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            entry = self.get(f"/history/{prompt_id}").json().get(prompt_id)
            if entry is not None:
                return _run(entry)
            time.sleep(0.05)
        raise TimeoutError(f"The server did not finish within {seconds:g} seconds.")

    def run(self, prompt: Prompt) -> Run:
        """Queue a prompt and wait for it.

        Raises:
            PromptRefused: it is not valid.
            RunFailed: a node failed.
        """
        run = self.wait(self.queue(prompt))
        if run.status != "success":
            raise RunFailed(run.message or run.status)
        return run

    def picture(self, file: dict[str, str]) -> NDArray[np.uint8]:
        """A picture that an output node names, uint8 (H, W, 3)."""
        return np.asarray(self.picture_file(file).convert("RGB"))

    def picture_file(self, file: dict[str, str]) -> Image.Image:
        """The same with its metadata."""
        return Image.open(io.BytesIO(self.get("/view", **file).content))

    def latent(self, file: dict[str, str]) -> Tensor:
        """A latent that SaveLatent names, bit for bit."""
        return load(self.get("/view", **file).content)["latent_tensor"]

    def forget_results(self) -> None:
        """Have everything run anew, once the host is idle: earlier results are dropped."""
        self.session.post(f"{self.address}/free", json={"free_memory": True}, timeout=60).raise_for_status()

    def interrupt(self) -> None:
        """Press the Cancel button."""
        self.session.post(f"{self.address}/interrupt", timeout=60).raise_for_status()


def _run(entry: dict[str, Any]) -> Run:
    cached: frozenset[str] = frozenset()
    status, message, error = "success", "", ""
    for kind, details in entry["status"]["messages"]:
        if kind == "execution_cached":
            cached = frozenset(details["nodes"])
        elif kind == "execution_error":
            status, message, error = "error", details["exception_message"], details["exception_type"]
        elif kind == "execution_interrupted":
            status = "interrupted"
    return Run(entry["outputs"], cached, status, message, error)
