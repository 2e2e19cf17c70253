"""The routes of the panel Memory, as the panel asks them and as an attacker would."""

from __future__ import annotations

import http.client
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from PIL import Image
from support.graphs import Drawing
from support.host_client import HostClient
from support.host_server import HostServer
from support.random_latents import random_latents
from support.spreading import Spreading
from support.strangers import change, first_shard

ROOT = "/diversity/memory"
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
READING = ("banks", "entries", "thumbnail", "pushes")
CHANGING = ("remove", "undo", "pin")


@pytest.fixture
def banks(server: HostServer) -> Path:
    return server.base / "user" / "diversity_banks"


def filled(banks: Path, name: str, count: int = 3) -> MemoryBank:
    """A bank of images in red, green and blue."""
    bank = MemoryBank(banks, name)
    thumbnails = torch.tensor([COLOURS[place % 3] for place in range(count)], dtype=torch.uint8)
    bank.append(
        random_latents(count, seed=len(name)),
        latent_format="SD3",
        prompts=[f"Prompt {place}" for place in range(count)],
        seeds=[2**64 - 1 - place for place in range(count)],
        thumbnails=thumbnails[:, None, None].expand(-1, 8, 12, -1).contiguous(),
    )
    return bank


def ids(bank: MemoryBank) -> list[str]:
    return [entry.id for entry in bank.snapshot().entries]


def post(client: HostClient, path: str, body: Any, **headers: str) -> requests.Response:
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return requests.post(
        f"{client.address}{ROOT}/{path}", data=data, headers={"Content-Type": "application/json", **headers}, timeout=60
    )


def get(client: HostClient, path: str, headers: dict[str, str] | None = None, **query: Any) -> requests.Response:
    return requests.get(f"{client.address}{ROOT}/{path}", params=query, headers=headers, timeout=60)


def refused(response: requests.Response, *statuses: int) -> str:
    """The sentence of an answer that is no server error."""
    assert response.status_code in (statuses or (400, 403, 404, 409)), response.text
    told = response.json()
    assert set(told) == {"error"} and len(told["error"]) > 10
    return told["error"]


def test_the_panel_sees_banks_images_and_thumbnails(client: HostClient, banks: Path) -> None:
    bank = filled(banks, "seen")
    (told,) = [each for each in get(client, "banks").json()["banks"] if each["name"] == "seen"]
    assert told["images"] == 3 and told["disk_bytes"] >= told["live_bytes"] > 0 and told["changed"]
    page = get(client, "entries", bank="seen", text="pROMPT", start=1, count=1).json()
    assert (page["total"], page["found"], page["revision"]) == (3, 3, 1)
    (entry,) = page["entries"]
    assert (entry["prompt"], entry["seed"], entry["pinned"]) == ("Prompt 1", str(2**64 - 2), False)
    assert entry["id"] == ids(bank)[1] and entry["shape"] == [4, 3, 2]
    response = get(client, "thumbnail", bank="seen", id=entry["id"])
    assert response.headers["Content-Type"] == "image/webp"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    pixels = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(int)
    assert pixels.shape == (8, 12, 3) and np.abs(pixels - COLOURS[1]).max() < 40
    assert get(client, "entries", bank="seen", text="nothing like it").json()["found"] == 0
    assert len(get(client, "entries", bank="seen", count=10**6).json()["entries"]) == 3


def test_removing_and_undoing(client: HostClient, banks: Path) -> None:
    bank = filled(banks, "tidied")
    first, second, third = ids(bank)
    assert post(client, "remove", {"bank": "tidied", "ids": [second]}).json() == {"removed": 1}
    assert ids(bank) == [first, third]
    assert [entry["id"] for entry in get(client, "entries", bank="tidied").json()["entries"]] == [third, first]
    assert "holds no image" in refused(post(client, "remove", {"bank": "tidied", "ids": [second]}), 409)
    assert post(client, "undo", {"bank": "tidied"}).status_code == 200
    assert ids(bank) == [first, second, third]
    assert len(get(client, "entries", bank="tidied").json()["entries"]) == 3
    assert post(client, "undo", {"bank": "tidied"}).status_code == 200
    assert ids(bank) == []
    assert "nothing to undo" in refused(post(client, "undo", {"bank": "tidied"}), 409)


def test_pinning(client: HostClient, banks: Path) -> None:
    bank = filled(banks, "pins")
    first = ids(bank)[0]
    for pinned in (True, False):
        assert post(client, "pin", {"bank": "pins", "ids": [first], "pinned": pinned}).status_code == 200
        shown = {entry["id"]: entry["pinned"] for entry in get(client, "entries", bank="pins").json()["entries"]}
        assert shown == {identity: pinned and identity == first for identity in ids(bank)}
    # Another program's pin is seen, too.
    get(client, "entries", bank="pins")
    bank.pin([first])
    assert [entry["pinned"] for entry in get(client, "entries", bank="pins").json()["entries"]] == [False, False, True]


def test_what_pushed_the_last_run(client: HostClient) -> None:
    graph = Drawing()
    graph.add("DiversityRemember", samples=graph.sample(batch=2), model=graph.demo, name="pushing")
    client.run(graph.prompt)
    graph = Drawing()
    bank = graph.add("DiversityMemoryBank", name="pushing", revision=-1)
    guided = graph.sample(graph.repel(bank=bank, in_batch=True), batch=2, seed=1)
    graph.add("DiversityRemember", samples=guided, model=graph.demo, name="pushing")
    client.run(graph.prompt)
    told = get(client, "pushes", bank="pushing").json()
    assert told["by"] == "shields"
    assert told["told"].startswith("Moved 2 of 2 images")
    entries = [entry["id"] for entry in get(client, "entries", bank="pushing").json()["entries"]]
    assert [image["id"] for image in told["images"]] == entries[1::-1]
    pushed = [push for image in told["images"] for push in image["pushed_from"]]
    assert {push["reference"] for push in pushed if push["held"]} & set(entries[2:])
    assert {push["reference"] for push in pushed if not push["held"]} <= {"batch:0", "batch:1"}
    assert all(push["distance"] > 0 for push in pushed)


def test_what_weighed_most_in_vendi_guidance(client: HostClient) -> None:
    graph = Spreading()
    graph.add("DiversityRemember", samples=graph.sample(batch=3), model=graph.demo, name="weighing")
    client.run(graph.prompt)
    graph = Spreading()
    bank = graph.add("DiversityMemoryBank", name="weighing", revision=-1)
    graph.latents(graph.sample(graph.vendi(bank=bank), batch=2, seed=1))
    client.run(graph.prompt)
    told = get(client, "pushes", bank="weighing").json()
    assert told["by"] == "similarity"
    assert [len(image["pushed_from"]) for image in told["images"]] == [4, 4]
    for image in told["images"]:
        distances = [push["distance"] for push in image["pushed_from"]]
        assert distances == sorted(distances)
        assert sum(push["held"] for push in image["pushed_from"]) == 3


def test_one_undo_takes_back_what_a_queue_has_saved(client: HostClient, banks: Path) -> None:
    def queue(*seeds: int) -> None:
        graph = Drawing()
        for seed in seeds:
            graph.add("DiversityRemember", samples=graph.sample(batch=2, seed=seed), model=graph.demo, name="queues")
        client.run(graph.prompt)

    bank = MemoryBank(banks, "queues")
    queue(1)
    queue(2, 3)
    for left in (2, 0):
        assert len(ids(bank)) == left + (4 if left else 2)
        assert post(client, "undo", {"bank": "queues"}).status_code == 200
        assert len(ids(bank)) == left
    assert "nothing to undo" in refused(post(client, "undo", {"bank": "queues"}), 409)


NAMES = (
    "",
    "..",
    "../secret",
    "%2e%2e",
    "..%2fsecret",
    "/etc",
    "C:\\Windows",
    "a/b",
    "a\\b",
    "CON",
    "a\0b",
    "x" * 65,
    "\u202ename",
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_could_be_paths_are_refused(client: HostClient, name: str) -> None:
    identity = "0" * 64
    answers = [get(client, path, bank=name, id=identity) for path in READING[1:]]
    answers += [post(client, path, {"bank": name, "ids": [identity]}) for path in CHANGING]
    for answer in answers:
        refused(answer, 400, 404)


@pytest.mark.parametrize("path", [f"{ROOT}/../../etc/passwd", f"{ROOT}/..%2f..%2fetc%2fpasswd", f"{ROOT}/%2e%2e/x"])
def test_no_path_leads_out(client: HostClient, path: str) -> None:
    connection = http.client.HTTPConnection(client.address.removeprefix("http://"), timeout=60)
    with closing(connection):
        connection.request("GET", path)  # as it is: a client of higher level would tidy it
        assert connection.getresponse().status in (403, 404)


@pytest.mark.parametrize("path", CHANGING)
def test_nothing_changes_by_get(client: HostClient, banks: Path, path: str) -> None:
    bank = filled(banks, f"kept {path}")
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        answer = requests.request(
            method, f"{client.address}{ROOT}/{path}", params={"bank": bank.name, "ids": ids(bank)[0]}, timeout=60
        )
        assert answer.status_code in (403, 404, 405)
    assert len(ids(bank)) == 3


FOREIGN = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
    {"Sec-Fetch-Site": "nonsense"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_other_origins_are_refused(client: HostClient, banks: Path, headers: dict[str, str]) -> None:
    bank = filled(banks, "of this origin")
    given = {name: value.format(own=client.address) for name, value in headers.items()}
    answers = [post(client, path, {"bank": bank.name, "ids": ids(bank)}, **given) for path in CHANGING]
    answers += [get(client, path, given, bank=bank.name, id=ids(bank)[0]) for path in READING]
    assert {answer.status_code for answer in answers} == {403}
    assert len(ids(bank)) == 3
    own = {"Origin": client.address, "Sec-Fetch-Site": "same-origin"}
    assert get(client, "entries", own, bank=bank.name).status_code == 200
    assert post(client, "pin", {"bank": bank.name, "ids": ids(bank)}, **own).status_code == 200
    assert post(client, "pin", {"bank": bank.name, "ids": ids(bank)}, Origin=client.address).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_what_a_form_could_send_is_refused(client: HostClient, banks: Path, kind: str) -> None:
    bank = filled(banks, "no forms")
    for path in CHANGING:
        refused(post(client, path, {"bank": bank.name, "ids": ids(bank)}, **{"Content-Type": kind}), 415)
    assert len(ids(bank)) == 3


BODIES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"bank": ' + b"9" * 10_000 + b"}",
    {},
    {"bank": None, "ids": []},
    {"bank": ["wrong types"], "ids": ["0" * 64]},
    {"bank": "wrong types", "ids": {}},
    {"bank": "wrong types", "ids": "0" * 64},
    {"bank": "wrong types", "ids": []},
    {"bank": "wrong types", "ids": [1, None, True]},
    {"bank": "wrong types", "ids": [["0" * 64]]},
    {"bank": "wrong types", "ids": ["0" * 63 + "g"]},
    {"bank": "wrong types", "ids": ["0" * 64 + "\n"]},
    {"bank": "wrong types", "ids": ["../" + "0" * 61]},
    {"bank": "wrong types", "ids": ["' OR 1=1; DROP TABLE entries --"]},
    {"bank": "\ud800", "ids": ["0" * 64]},
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: ascii(body)[:40])
def test_bodies_of_wrong_types_are_refused(client: HostClient, banks: Path, body: Any) -> None:
    bank = filled(banks, "wrong types")
    for path in ("remove", "pin"):
        refused(post(client, path, body), 400)
    assert len(ids(bank)) == 3


def test_a_pin_that_is_no_truth_value_is_refused(client: HostClient, banks: Path) -> None:
    bank = filled(banks, "pinned how")
    for pinned in (None, 1, "true", []):
        refused(post(client, "pin", {"bank": bank.name, "ids": ids(bank), "pinned": pinned}), 400)


def test_large_bodies_are_refused(client: HostClient, banks: Path) -> None:
    filled(banks, "large bodies")
    refused(post(client, "remove", {"bank": "large bodies", "ids": ["0" * 64] * 20_000}), 413)
    refused(post(client, "remove", {"bank": "large bodies", "ids": ["0" * 64] * 11_000}), 400)
    refused(post(client, "remove", {"bank": "x" * 900_000, "ids": ["0" * 64]}), 400)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("entries", {"start": "-1"}),
        ("entries", {"start": "1e3"}),
        ("entries", {"start": "٣"}),
        ("entries", {"count": "9" * 5000}),
        ("entries", {"text": "x" * 1001}),
        ("thumbnail", {"id": ""}),
        ("thumbnail", {"id": "../../secret"}),
        ("thumbnail", {"id": "G" * 64}),
        ("thumbnail", {}),
    ],
    ids=str,
)
def test_questions_of_wrong_types_are_refused(
    client: HostClient, banks: Path, path: str, query: dict[str, str]
) -> None:
    filled(banks, "questions")
    refused(get(client, path, bank="questions", **query), 400)


def test_what_is_missing_is_not_found(client: HostClient, banks: Path) -> None:
    filled(banks, "found")
    refused(get(client, "entries", bank="never made"), 404)
    refused(get(client, "thumbnail", bank="found", id="0" * 64), 404)
    assert not (banks / "never made").exists()
    refused(post(client, "undo", {"bank": "never made"}), 404)
    assert not (banks / "never made").exists()


def test_a_thumbnail_that_is_no_image_is_not_shown(client: HostClient, banks: Path) -> None:
    for name, latents in (("of no colours", (3, 8, 8, 4)), ("of no pixels", (3, 1, 1, 3))):
        bank = MemoryBank(banks, name)
        bank.append(random_latents(3), latent_format="SD3", thumbnails=torch.zeros(3, 8, 8, 3, dtype=torch.uint8))
        change(bank, f"UPDATE parts SET shape = '{','.join(map(str, latents[1:]))}' WHERE name = 'thumbnails'")
        refused(get(client, "thumbnail", bank=name, id=ids(bank)[0]), 404, 409)
    bank = MemoryBank(banks, "of floats")
    bank.append(random_latents(1), latent_format="SD3", features={"x": torch.zeros(1, 8, 8, 3)})
    change(bank, "UPDATE parts SET name = 'thumbnails' WHERE name = 'features/x'")
    refused(get(client, "thumbnail", bank="of floats", id=ids(bank)[0]), 404, 409)


def test_a_long_prompt_is_shown_in_part_and_searched_as_a_whole(client: HostClient, banks: Path) -> None:
    bank = MemoryBank(banks, "long prompts")
    prompt = "<script>alert(1)</script>" + "x" * 100_000 + "the end"
    bank.append(random_latents(2), latent_format="SD3", prompts=[prompt, None])
    page = get(client, "entries", bank="long prompts", text="THE END").json()
    assert page["found"] == 1
    shown = page["entries"][0]["prompt"]
    assert len(shown) < 2000 and shown.startswith("<script>")


@pytest.fixture
def held(banks: Path) -> Iterator[MemoryBank]:
    """A bank that another program is writing."""
    bank = filled(banks, "held")
    with closing(sqlite3.connect(bank.folder / "index.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield bank


def test_a_bank_that_another_program_holds_is_told(client: HostClient, held: MemoryBank) -> None:
    for answer in (
        get(client, "entries", bank=held.name),
        post(client, "remove", {"bank": held.name, "ids": ["0" * 64]}),
    ):
        assert "Another program holds it" in refused(answer, 409)


def damage_database(bank: MemoryBank) -> None:
    path = bank.folder / "index.sqlite"
    path.write_bytes(path.read_bytes()[:2000])


def damage_shard(bank: MemoryBank) -> None:
    first_shard(bank).write_bytes(b"not what was written")


def empty_database(bank: MemoryBank) -> None:
    (bank.folder / "index.sqlite").write_bytes(b"")


def replace_by_link(bank: MemoryBank) -> None:
    (bank.folder / "index.sqlite").unlink()
    (bank.folder / "index.sqlite").symlink_to("/etc/passwd")


@pytest.mark.parametrize("damage", [damage_database, damage_shard, empty_database, replace_by_link])
def test_a_damaged_bank_is_told(client: HostClient, banks: Path, damage: Any) -> None:
    bank = filled(banks, damage.__name__)
    known = ids(bank)
    damage(bank)
    refused(get(client, "entries", bank=bank.name), 404, 409)
    refused(get(client, "thumbnail", bank=bank.name, id=known[0]), 404, 409)
    told = {each["name"]: each for each in get(client, "banks").json()["banks"]}
    assert damage is damage_shard or "error" in told[bank.name]
    assert "root:" not in json.dumps(told)
