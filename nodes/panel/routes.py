"""The panel's routes on the host's own server, below ``/diversity/memory``.

Whatever a request holds, the answer is what was asked for or a sentence. Only a POST changes a bank, only with JSON,
and only from a page of the same server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from server import PromptServer

from ...stores.files import validate_name
from ..host.messages import logger
from . import banks

ROOT = "/diversity/memory"
MAX_BODY = 2**20
MAX_TEXT = 1000
"""Characters of a filter."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of the answer, such as 400.
        sentence: what the user reads.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def add_routes() -> None:
    """Add the routes to the host's server, if there is one."""
    server = getattr(PromptServer, "instance", None)
    routes = getattr(server, "routes", None)
    if routes is None:
        return
    for path, answer in GET.items():
        routes.get(f"{ROOT}/{path}")(_guarded(answer))
    for path, answer in POST.items():
        routes.post(f"{ROOT}/{path}")(_guarded(answer))


def is_same_origin(headers: Any) -> bool:
    """Whether a browser says that a page of this server asks, or whoever asks is no browser.

    Args:
        headers: of the request.
    """
    if (site := headers.get("Sec-Fetch-Site")) is not None:
        return site.lower() in ("same-origin", "none")
    origin = headers.get("Origin")
    return origin is None or origin.lower().partition("://")[2] == headers.get("Host", "").lower()


def _guarded(answer: Answer) -> Answer:
    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            if not is_same_origin(request.headers):
                raise Refused(403, "Only pages of this ComfyUI may look into its memory.")
            response = await answer(request)
        except Refused as error:
            response = _json({"error": str(error)}, error.status)
        except banks.NotFoundError as error:
            response = _json({"error": str(error)}, 404)
        except (ValueError, OSError) as error:
            logger.warning("The panel Memory was not answered: %s", error)
            response = _json({"error": str(error)}, 409)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    return guarded


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, headers={"Cache-Control": "no-store"})


async def _banks(_: web.Request) -> web.StreamResponse:
    return _json(await asyncio.to_thread(banks.all_banks))


async def _entries(request: web.Request) -> web.StreamResponse:
    text = request.query.get("text", "")
    if len(text) > MAX_TEXT:
        raise Refused(400, f"The filter is {len(text)} characters long. Use at most {MAX_TEXT}.")
    start, count = _number(request, "start", 0), _number(request, "count", 60)
    return _json(await asyncio.to_thread(banks.page, _asked_bank(request), text, start, count))


async def _thumbnail(request: web.Request) -> web.StreamResponse:
    data = await asyncio.to_thread(banks.thumbnail, _asked_bank(request), _checked_id(request.query.get("id")))
    # An id is the hash of the content, and a thumbnail never changes.
    return web.Response(body=data, content_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})


async def _pushes(request: web.Request) -> web.StreamResponse:
    return _json(await asyncio.to_thread(banks.pushes, _asked_bank(request)))


def _asked_bank(request: web.Request) -> str:
    return _checked_name(request.query.get("bank"))


def _checked_name(value: Any) -> str:
    try:
        return validate_name("" if value is None else value, "bank")
    except ValueError as error:
        raise Refused(400, str(error)) from error


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(400, f"{name} must be a whole number from 0 on.")
    return int(text)


def _checked_id(value: Any) -> str:
    if not isinstance(value, str) or not banks.ID.fullmatch(value):
        raise Refused(400, "An image is named by the 64 digits 0-9 and a-f of its id.")
    return value


async def _remove(request: web.Request) -> web.StreamResponse:
    given = await _given(request)
    return _json(await asyncio.to_thread(banks.remove, _checked_name(given.get("bank")), _checked_ids(given)))


async def _undo(request: web.Request) -> web.StreamResponse:
    given = await _given(request)
    return _json(await asyncio.to_thread(banks.undo, _checked_name(given.get("bank"))))


async def _pin(request: web.Request) -> web.StreamResponse:
    given = await _given(request)
    name, ids, pinned = _checked_name(given.get("bank")), _checked_ids(given), given.get("pinned", True)
    if not isinstance(pinned, bool):
        raise Refused(400, "pinned must be true or false.")
    return _json(await asyncio.to_thread(banks.pin, name, ids, pinned))


async def _given(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request's body."""
    # A page of another server may send other types without asking first.
    if request.content_type != "application/json":
        raise Refused(415, "Send JSON, with the content type application/json.")
    body = bytearray()
    async for part in request.content.iter_chunked(2**16):
        body += part
        if len(body) > MAX_BODY:
            raise Refused(413, f"The request is larger than {MAX_BODY} bytes.")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The request is not JSON.") from error
    if not isinstance(given, dict):
        raise Refused(400, "The request must be a JSON object.")
    return given


def _checked_ids(given: dict[str, Any]) -> list[str]:
    ids = given.get("ids")
    if not isinstance(ids, list) or not 0 < len(ids) <= banks.MAX_IDS:
        raise Refused(400, f"ids must be a list of 1 to {banks.MAX_IDS} ids of images.")
    return [_checked_id(each) for each in ids]


GET: dict[str, Answer] = {"banks": _banks, "entries": _entries, "thumbnail": _thumbnail, "pushes": _pushes}
POST: dict[str, Answer] = {"remove": _remove, "undo": _undo, "pin": _pin}
