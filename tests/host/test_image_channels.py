"""Images of one, two or four channels, which other packs make, at every socket that measures or encodes them."""

from __future__ import annotations

import pytest
from diversity_guidance.stores.protected.index import ProtectedIndex
from support.graphs import Drawing
from support.host_client import HostClient
from support.host_server import HostServer

KINDS = ("one channel", "two channels", "transparent")


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_taken_as_colours(server: HostServer, client: HostClient, kind: str) -> None:
    graph = Drawing()
    images = graph.add("TestPictures", kind=kind)
    sampled, name = graph.sample(batch=3), f"of {kind}"
    built = {"vae": graph.demo[2], "model": graph.demo[0], "folder": "", "width": 64, "height": 64}
    graph.add("DiversityBuildProtectedIndex", name=name, images=images, **built)
    features = {"features": "random network", "images": images}
    graph.add("DiversityRemember", samples=sampled, model=graph.demo[0], name=name, **features)
    looked = {"layers": "all", "levels": 2, "noise_samples": 1, "seed": 0, "save_as": ""}
    encoded = {"images": images, "vae": graph.demo[2]}
    probed = graph.add("DiversityFeatureProbe", model=graph.demo[0], positive=graph.encode("dog"), **encoded, **looked)
    exemplars = graph.add("DiversityExemplarSet", folder="", **encoded)
    picked = graph.add("DiversityPick", count=2, samples=sampled, images=images)
    for node in (probed, exemplars, picked):
        graph.add("PreviewAny", source=node)
    client.run(graph.prompt)
    assert len(ProtectedIndex.open(server.base / "models" / "diversity_indexes" / name)) == 3
