"""The Diversity Report beside protected pictures in a real server: what is near, what is inside, what does not fit."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from diversity_guidance.cli import main
from diversity_guidance.embedded.transformer import to_model_space
from diversity_guidance.features.random_network import RandomNetwork
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.spaces import feature_space, latent_space
from PIL import Image
from support.example_prompts import quick
from support.graphs import Drawing, Graph, Node, latents_of, pictures_of
from support.host_client import HostClient, Run
from support.host_server import HostServer
from support.indexes import built
from support.reports import reported

RADIUS = 30.0


class Reporting(Drawing):
    """The same batch without and with Sparse Repellency from an index, and reports on it."""

    def draw(self, name: str, **settings: Any) -> None:
        self.index = self.add("DiversityProtectedIndex", name=name)
        self.plain = self.sample()
        defaults = {"radius": 0.0, "absolute_radius": RADIUS, "in_batch": False, "ensure_outside": True}
        self.guarded = self.repel(protected=self.index, **{**defaults, **settings})
        self.samples = self.sample(self.guarded)

    def decode(self, samples: Node) -> Node:
        return self.add("VAEDecode", samples=samples, vae=self.demo[2])

    def report(self, samples: Node, **inputs: Any) -> Node:
        images = self.decode(samples)
        wired = {"samples": samples, "model": self.demo, "protected": self.index}
        return reported(self, images, **{**wired, **inputs})


def protect_what_is_drawn(server: HostServer, client: HostClient, name: str) -> ProtectedIndex:
    """An index of what is beside the latents that the tests' prompt and seed give, by 24.5 in the model's space."""
    folder = server.base / "models" / "diversity_indexes" / name
    if not folder.exists():
        graph = Drawing()
        saved = graph.latents(graph.sample())
        latents = latents_of(client, client.run(graph.prompt), saved)
        built(folder, latents + 0.5, latent_space("SD3Emoji"), ["one.png", "two.png"])
    return ProtectedIndex.open(folder)


def text_of(run: Run, report: Node) -> str:
    return run.outputs[report.id]["text"][0]


def test_before_and_after(server: HostServer, client: HostClient) -> None:
    """All that was drawn without protection is inside; with it nothing is, and the distances are those of the model."""
    index = protect_what_is_drawn(server, client, "compared")
    graph = Reporting()
    graph.draw("compared")
    report = graph.report(
        graph.samples,
        before=graph.decode(graph.plain),
        before_samples=graph.plain,
        trace=graph.guarded[1],
        filename_prefix="protected/report",
    )
    sheet = graph.add("SaveImage", images=report, filename_prefix="test")
    saved = [graph.latents(samples) for samples in (graph.samples, graph.plain)]
    run = client.run(graph.prompt)
    told = text_of(run, report)
    assert "2 images are protected, in compared, radius 30: every image is outside every shield, nearest is " in told
    assert "Of the images before: 2 of 2 images are NOT outside every shield: image 0 (" in told
    assert "Nearest protected images (guidance):" in told and "Nearest protected images (compared):" in told
    text = (server.base / "output/protected/report_00001_.json").read_text(encoding="utf-8")
    recorded, compared = json.loads(text)["protected"]
    assert (recorded["source"], compared["source"], compared["radius"]) == ("guidance", "compared", RADIUS)
    shields = to_model_space(index.sample(2)).double().flatten(1)
    for node, pictures in zip(saved, (compared["images"], compared["before"]), strict=True):
        points = to_model_space(latents_of(client, run, node)).double().flatten(1)
        nearest = torch.cdist(points, shields).min(1)
        assert [near["distance"] for near in pictures] == pytest.approx(nearest.values.tolist(), rel=1e-5)
        names = [["one.png", "two.png"][number] for number in nearest.indices.tolist()]
        assert [near["protected"] for near in pictures] == names
        assert [near["inside"] for near in pictures] == (nearest.values < RADIUS).tolist()
    assert [near["inside"] for near in recorded["before"]] == [True, True]
    assert [near["distance"] for near in recorded["images"]] == pytest.approx(
        [near["distance"] for near in compared["images"]], rel=1e-4
    )
    (page,) = pictures_of(client, run, sheet)
    assert page.shape[1] == 1080


def test_guidance_alone_tells_it_too(server: HostServer, client: HostClient) -> None:
    protect_what_is_drawn(server, client, "recorded")
    graph = Reporting()
    graph.draw("recorded")
    images = graph.decode(graph.samples)
    report = reported(graph, images, samples=graph.samples, trace=graph.guarded[1])
    told = text_of(client.run(graph.prompt), report)
    assert re.search(r"Nearest protected images \(guidance\):\n  0 before  [\d.]+  INSIDE  (one|two)\.png", told)
    assert "Every image is outside every shield" in told


def test_without_a_trace(server: HostServer, client: HostClient) -> None:
    """The radius may be given; else nothing is called inside."""
    protect_what_is_drawn(server, client, "unguided")
    graph = Reporting()
    graph.draw("unguided")
    unknown, given = graph.report(graph.plain), graph.report(graph.plain, shield_radius=RADIUS)
    run = client.run(graph.prompt)
    assert "The radius of the shields is unknown, so no image is called inside: connect the trace" in text_of(
        run, unknown
    )
    assert "in unguided: nearest is image" in text_of(run, unknown)
    assert "in unguided, radius 30: 2 of 2 images are NOT outside every shield" in text_of(run, given)


def test_an_inpainting_mask_is_told(server: HostServer, client: HostClient) -> None:
    protect_what_is_drawn(server, client, "for inpainting, reported")
    graph = Reporting()
    graph.draw("for inpainting, reported")
    samples = graph.sample(latent=graph.masked()[0])
    report = graph.report(samples, shield_radius=1.0, before_samples=samples)
    assert text_of(client.run(graph.prompt), report).count("An inpainting mask held part of the samples") == 1


def test_an_index_of_features(server: HostServer, client: HostClient) -> None:
    """Pictures are compared as the command builds such an index: the middle of each, in one size."""
    graph = Graph()
    images = graph.add("TestPictures", kind="several sizes")
    saved = graph.add("SaveImage", images=images, filename_prefix="test")
    pictures = pictures_of(client, client.run(graph.prompt), saved)
    folder = server.base / "images to protect"
    folder.mkdir()
    for number, picture in enumerate(pictures[:3]):
        Image.fromarray(picture).save(folder / f"{number}.png")
    index = server.base / "models/diversity_indexes/features"
    assert main(["index", "build", str(index), str(folder), "--space", "random"]) == 0
    assert ProtectedIndex.open(index).space == feature_space(RandomNetwork().tag)
    protected = graph.add("DiversityProtectedIndex", name="features")
    others = graph.add("TestPictures", kind="one not a number")
    report = reported(graph, images, before=others, protected=protected)
    other_features = reported(graph, images, protected=protected, features="colour layout")
    run = client.run(graph.prompt)
    told = text_of(run, report)
    assert "in features, radius 0.12: 4 of 4 images are NOT outside every shield: image 0 (" in told
    assert "from 2.png), image 3 (" in told, "the third is of another shape"
    assert "Of the images before: " in told and "1 of 4 could not be compared: they hold no numbers, or" in told
    assert "holds features of random-network" in text_of(run, other_features)
    assert "nothing was compared. Choose the features that the index holds." in text_of(run, other_features)


def test_what_does_not_fit_costs_its_part_of_the_report_only(server: HostServer, client: HostClient) -> None:
    folder = server.base / "models" / "diversity_indexes"
    made = protect_what_is_drawn(server, client, "fits").sample(2)
    built(folder / "another format", torch.zeros(2, 4, 8, 8), latent_space("SD15"))
    built(folder / "another size, reported", torch.zeros(2, 16, 8, 12), latent_space("SD3Emoji"))
    built(folder / "emptied", made, latent_space("SD3Emoji"))
    with IndexBuilder.opened(folder / "emptied") as builder:
        builder.remove([0, 1])
        builder.finish()
    built(folder / "damaged, reported", made, latent_space("SD3Emoji"))
    (rows,) = (folder / "damaged, reported" / "shards").glob("*.f16")
    rows.write_bytes(bytes(rows.stat().st_size))
    graph = Reporting()
    graph.draw("fits")
    expected = {}
    for name, sentence in (
        ("another format", "holds SD15 latents, and this model makes SD3Emoji latents"),
        ("another size, reported", "holds latents of 16 x 8 x 12 and these samples are of 16 x 8 x 8: nothing was"),
        ("emptied", "The protected index emptied is empty: it protects nothing."),
        ("damaged, reported", f"{rows.name} does not hold what was written in row"),
    ):
        graph.index = graph.add("DiversityProtectedIndex", name=name)
        expected[graph.report(graph.plain, shield_radius=RADIUS)] = sentence
    graph.index = graph.add("DiversityProtectedIndex", name="fits")
    images = graph.decode(graph.plain)
    unwired = reported(graph, images, protected=graph.index)
    expected[unwired] = "so it is compared with latents: connect the report's samples, and the model."
    run = client.run(graph.prompt)
    for report, sentence in expected.items():
        told = text_of(run, report)
        assert sentence in told
        assert told.startswith("2 images, as different as") and "are protected" not in told


def test_the_example_workflow(server: HostServer, client: HostClient) -> None:
    """The report tells that the same seed came inside before and no more."""
    prompt = quick(client, "Images that are never generated again")
    for node in prompt.values():
        if node["inputs"].get("name") == "example":
            node["inputs"]["name"] = "reported example"  # An index of that name grows whenever the example runs.
    run = client.run(prompt)
    (report,) = (Node(identity) for identity, node in prompt.items() if node["class_type"] == "DiversityReport")
    told = text_of(run, report)
    assert "8 images are protected, in reported example, radius " in told
    assert "every image is outside every shield, nearest is image" in told
    assert re.search(r"Of the images before: [4-8] of 8 images are NOT outside every shield", told)
