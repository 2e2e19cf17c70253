"""The subgraphs that the editor's library offers: served by the host, and doing what their titles say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image
from support.blueprints import DIFFERENT, FOLDER, PORTFOLIO, blueprints
from support.graphs import Drawing, latents_of, pictures_of
from support.host_client import HostClient
from support.host_server import HostServer
from support.subgraphs import INPUT, OUTPUT
from support.workflows import to_api


def load(title: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{title}.json").read_text(encoding="utf-8"))


def put(graph: Drawing, title: str, object_info: dict[str, Any], given: dict[str, Any], **values: Any) -> list[Any]:
    """Add a blueprint's nodes to a graph, wired as the editor wires them, and return its first output."""
    workflow = load(title)
    (outer,), (made,) = workflow["nodes"], workflow["definitions"]["subgraphs"]
    prompt = to_api(workflow, object_info)
    by_id = {node["id"]: node for node in made["nodes"]}
    for link in made["links"]:
        name = made["inputs"][link["origin_slot"]]["name"] if link["origin_id"] == INPUT else ""
        if name in given:
            socket = by_id[link["target_id"]]["inputs"][link["target_slot"]]["name"]
            prompt[f"{outer['id']}:{link['target_id']}"]["inputs"][socket] = given[name]
    for node, widget in outer["properties"]["proxyWidgets"]:
        if widget in values and node != "-1":
            prompt[f"{outer['id']}:{node}"]["inputs"][widget] = values[widget]
    graph.prompt.update(prompt)
    (first,) = [link for link in made["links"] if (link["target_id"], link["target_slot"]) == (OUTPUT, 0)]
    return [f"{outer['id']}:{first['origin_id']}", first["origin_slot"]]


def test_the_files_are_those_that_the_script_writes(client: HostClient) -> None:
    written = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
    assert written == json.loads(json.dumps(blueprints(client.object_info())))


def test_the_host_serves_them(client: HostClient) -> None:
    served = {
        entry["name"]: identity
        for identity, entry in client.get("/global_subgraphs").json().items()
        if entry["info"]["node_pack"] == "custom_nodes.diversity-guidance"
    }
    assert served.keys() == {DIFFERENT, PORTFOLIO}
    for title, identity in served.items():
        assert json.loads(client.get(f"/global_subgraphs/{identity}").json()["data"]) == load(title)


@pytest.mark.parametrize("title", [DIFFERENT, PORTFOLIO])
def test_what_it_shows_exists_inside(title: str, client: HostClient) -> None:
    workflow = load(title)
    (outer,), (made,) = workflow["nodes"], workflow["definitions"]["subgraphs"]
    inside = {str(node["id"]): node["type"] for node in made["nodes"]}
    ends = {end["name"] for end in made["inputs"]}
    object_info = client.object_info()
    for node, widget in outer["properties"]["proxyWidgets"]:
        known = object_info[inside[node]]["input"] if node in inside else {}
        assert widget in ends or widget in {**known.get("required", {}), **known.get("optional", {})}


def test_the_same_seed_makes_another_image_every_time(client: HostClient) -> None:
    graph = Drawing()
    wires: dict[str, Any] = {
        "model": graph.demo[0],
        "positive": graph.encode("woman running")[0],
        "negative": graph.encode("")[0],
        "latent_image": graph.empty(1)[0],
    }
    samples = put(graph, DIFFERENT, client.object_info(), wires, steps=4, preset="strong")
    saved = graph.latents(samples)
    first, second = (latents_of(client, client.run(graph.prompt), saved) for _ in range(2))
    assert (first - second).abs().max() > 0.1


def test_an_image_of_the_portfolio_is_not_made_again(server: HostServer, client: HostClient) -> None:
    graph = Drawing()
    pictures = graph.pictures(graph.sample(batch=1, steps=6))
    (image,) = pictures_of(client, client.run(graph.prompt), pictures)
    folder = server.base / "input" / "portfolio"
    folder.mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / "mine.png")

    wires: dict[str, Any] = {"model": graph.demo[0], "vae": graph.demo[2]}
    model = put(graph, PORTFOLIO, client.object_info(), wires, width=64, height=64)
    apart = graph.pictures(graph.sample(model, batch=1, steps=6))
    (other,) = pictures_of(client, client.run(graph.prompt), apart)
    assert abs(other.astype(float) - image).mean() > 2
