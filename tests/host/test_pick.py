"""Pick Representatives sees what differs, and what fits the prompt, in a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.graphs import Graph, Node
from support.host_client import HostClient, PromptRefused, RunFailed


def picked(client: HostClient, graph: Graph, pick: Node) -> list[int]:
    """The chosen numbers."""
    told = graph.add("PreviewAny", source=pick[2])
    return json.loads(f"[{client.run(graph.prompt).outputs[told.id]['text'][0]}]")


def weighed(graph: Graph, length: int = 24, **settings: Any) -> Node:
    """A pick among twelve images by a prompt that means the eighth."""
    images = graph.add("TestPictures", kind="twelve")
    vision = graph.add("TestTinyClipVision")
    meant = graph.add("ImageFromBatch", image=images, batch_index=7, length=1)
    clip = graph.add("TestTextHalf", clip_vision=vision, image=meant, length=length)
    prompt = graph.add("PrimitiveStringMultiline", value="the eighth")
    given = {"images": images, "clip": clip, "clip_vision": vision, "prompt": prompt, **settings}
    return graph.add("DiversityPick", count=1, **{name: each for name, each in given.items() if each is not None})


@pytest.mark.parametrize("features", ["content network", "random network", "colour layout"])
def test_the_only_different_image_is_not_dropped(client: HostClient, features: str) -> None:
    graph = Graph()
    three = graph.add("TestPictures", kind="three")
    first = graph.add("ImageFromBatch", image=three, batch_index=0, length=1)
    alike = graph.add("RepeatImageBatch", image=first, amount=7)
    other = graph.add("ImageFromBatch", image=three, batch_index=1, length=1)
    images = graph.add("ImageBatch", image1=alike, image2=other)
    assert 7 in picked(client, graph, graph.add("DiversityPick", count=2, images=images, features=features))


def test_the_image_that_fits_the_prompt_is_preferred(client: HostClient) -> None:
    plain, wanted = Graph(), Graph()
    assert picked(client, plain, weighed(plain)) != [7]
    assert picked(client, wanted, weighed(wanted, prompt_weight=1.0)) == [7]


@pytest.mark.parametrize("missing", ["prompt", "clip", "clip_vision"])
def test_what_prompt_weight_needs_is_named_before_anything_runs(client: HostClient, missing: str) -> None:
    graph = Graph()
    unwired: dict[str, Any] = {missing: None}
    graph.add("PreviewAny", source=weighed(graph, prompt_weight=0.5, **unwired)[2])
    with pytest.raises(PromptRefused, match="connect images, prompt, clip and clip_vision"):
        client.run(graph.prompt)


def test_halves_that_do_not_belong_together_are_refused(client: HostClient) -> None:
    graph = Graph()
    graph.add("PreviewAny", source=weighed(graph, length=16, prompt_weight=0.5)[2])
    with pytest.raises(RunFailed, match="gives a prompt as 16 numbers, and this clip_vision an image as 24"):
        client.run(graph.prompt)


def test_clip_vision_is_asked_for(client: HostClient) -> None:
    graph = Graph()
    images = graph.add("TestPictures", kind="three")
    graph.add("PreviewAny", source=graph.add("DiversityPick", count=1, images=images, features="clip vision")[2])
    with pytest.raises(PromptRefused, match="Connect clip_vision"):
        client.run(graph.prompt)
