"""What a browser would hear from the server while a prompt runs."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass

from .host_client import HostClient, Prompt, Run

TEXT_EVENT = 3
ENDS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass(frozen=True)
class Heard:
    """A run, the texts that nodes showed meanwhile, as (node, text), and their progress, as (node, value, of)."""

    run: Run
    texts: list[tuple[str, str]]
    progress: list[tuple[str, float, float]]


def listen(client: HostClient, prompt: Prompt, interrupt_at: str | None = None, seconds: float = 300.0) -> Heard:
    """Run a prompt to its end, or press Cancel as soon as a node reports progress."""
    return asyncio.run(asyncio.wait_for(_listen(client, prompt, interrupt_at), seconds))


async def _listen(client: HostClient, prompt: Prompt, interrupt_at: str | None) -> Heard:
    import aiohttp  # a requirement of the host, which this package does not have

    texts, progress = [], []
    url = f"{client.address}/ws?clientId={client.client_id}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
        prompt_id = client.queue(prompt)
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                event, length = struct.unpack(">II", message.data[:8])
                if event == TEXT_EVENT:
                    texts.append((message.data[8 : 8 + length].decode(), message.data[8 + length :].decode()))
                continue
            told = json.loads(message.data)
            data = told.get("data") or {}
            if data.get("prompt_id") != prompt_id:
                continue
            if told["type"] == "progress":
                progress.append((data["node"], data["value"], data["max"]))
                if data["node"] == interrupt_at:
                    client.interrupt()
                    interrupt_at = None
            if told["type"] in ENDS:
                break
    return Heard(client.wait(prompt_id), texts, progress)
