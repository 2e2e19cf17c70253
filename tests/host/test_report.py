"""The Diversity Report in a real server: numbers, pictures, files, what to keep, and whatever may be wired into it."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.example_prompts import quick
from support.graphs import Drawing, Graph, Node, pictures_of
from support.host_client import HostClient, PromptRefused, Run
from support.host_listener import listen
from support.host_server import HostServer
from support.reports import reported

REPORT, KEPT, REJECTED, TEXT, EFFECTIVE_NUMBER, ALL_NUMBERS = range(6)
KEPT_INDICES, REJECTED_INDICES = "kept_indices", "rejected_indices"
NUMBERS = (
    KEPT_INDICES,
    REJECTED_INDICES,
    "mean_distance",
    "smallest_distance",
    "precision",
    "recall",
    "irs_infinity",
    "irs_infinity_adjusted",
)


@dataclass
class Sockets:
    """A report and nodes that show what comes out of it."""

    graph: Graph
    report: Node

    def __post_init__(self) -> None:
        numbers = self.graph.add("DiversityReportNumbers", numbers=self.report[ALL_NUMBERS])
        sources = {name: numbers[slot] for slot, name in enumerate(NUMBERS)}
        sources["effective_number"] = self.report[EFFECTIVE_NUMBER]
        self.shown = {name: self.graph.add("PreviewAny", source=source) for name, source in sources.items()}
        self.saved = {slot: self.save(self.report[slot]) for slot in (REPORT, KEPT, REJECTED)}

    def save(self, images: Any) -> Node:
        """Save pictures."""
        return self.graph.add("SaveImage", images=images, filename_prefix="test")

    def number(self, run: Run, name: str) -> float:
        """What a socket gave in a run."""
        return float(run.outputs[self.shown[name].id]["text"][0])

    def indices(self, run: Run, name: str) -> list[int]:
        """The indices of the kept or the rejected pictures."""
        text = run.outputs[self.shown[name].id]["text"][0]
        return [int(part) for part in text.split(", ")] if text else []

    def text(self, run: Run) -> str:
        """What the node itself says."""
        return run.outputs[self.report.id]["text"][0]

    def pictures(self, client: HostClient, run: Run, slot: int) -> list[Any]:
        """The pictures of a socket; none where what follows it was skipped."""
        node = self.saved[slot]
        return pictures_of(client, run, node) if node.id in run.outputs else []


def report_on(kind: str, **inputs: Any) -> Sockets:
    """A report on the test's own pictures; texts that name such pictures stand for them."""
    graph = Graph()
    wired = {
        name: graph.add("TestPictures", kind=inputs.pop(name))
        for name in ("before", "reference", "held_out")
        if name in inputs
    }
    images = graph.add("TestPictures", kind=kind)
    return Sockets(graph, reported(graph, images, **wired, **inputs))


class Guided(Drawing):
    """The same batch without and with guidance."""

    def __init__(self, batch: int = 4, steps: int = 10, **repellency: Any) -> None:
        super().__init__()
        self.plain = self.sample(batch=batch, steps=steps)
        self.repelled = self.repel(**{"radius": 0.3, "cfg_easing": 2.0, "end_percent": 0.9, **repellency})
        self.samples = self.sample(self.repelled, batch=batch, steps=steps)

    def decode(self, samples: Node) -> Node:
        """The pictures of samples."""
        return self.add("VAEDecode", samples=samples, vae=self.demo[2])

    def report(self, images: Any, **inputs: Any) -> Sockets:
        """A report on them."""
        return Sockets(self, reported(self, images, **inputs))

    def report_with_trace(self, **inputs: Any) -> Sockets:
        """A report on the guided batch and on what guidance did."""
        wired = {"trace": self.repelled[1], "samples": self.samples}
        images = inputs.pop("images", None) or self.decode(self.samples)
        return self.report(images, **{**wired, **inputs})


def test_an_unguided_and_a_guided_batch(server: HostServer, client: HostClient) -> None:
    graph = Guided()
    sockets = graph.report_with_trace(before=graph.decode(graph.plain), filename_prefix="reports/one")
    heard = listen(client, graph.prompt)
    run, text = heard.run, sockets.text(heard.run)
    assert text.startswith("The images differ more than before: their mean distance is ")
    assert "\nGuidance: Moved 4 of 4 images" in text
    *_, shown = [told for node, told in heard.texts if node == sockets.report.id]
    verdict, details = shown.split(".\n", 1)
    assert re.fullmatch(r"[1-4] of 4 differ \([1-4] of 4 before\)", verdict)
    assert details == text.split("\n\n")[0]
    assert run.outputs[sockets.report.id]["verdict"] == [{"text": verdict, "details": details}]
    (card,) = pictures_of(client, run, sockets.report)
    assert card.shape[1] == 512
    (sheet,) = sockets.pictures(client, run, REPORT)
    assert sheet.shape[1] == 1080
    assert len(sheet) > 2 * len(card)

    written = server.base / "output" / "reports"
    content = json.loads((written / "one_00001_.json").read_text(encoding="utf-8"))
    values = {measure["name"]: measure["value"] for measure in content["report"]["measures"]}
    earlier = {measure["name"]: measure["value"] for measure in content["before"]["measures"]}
    assert values["mean_distance"] > earlier["mean_distance"]
    assert sockets.number(run, "effective_number") == pytest.approx(values["vendi_1"])
    assert sockets.number(run, "mean_distance") == pytest.approx(values["mean_distance"])
    assert sockets.number(run, "smallest_distance") == pytest.approx(values["smallest_distance"])
    assert math.isnan(sockets.number(run, "precision"))
    assert content["summary"] == text.split("\n\n")[0].splitlines()
    rows = list(csv.DictReader((written / "one_00001_.csv").open(encoding="utf-8", newline="")))
    assert {row["name"]: float(row["value"]) for row in rows} == pytest.approx(values)


def test_a_report_is_made_and_written_once(server: HostServer, client: HostClient) -> None:
    sockets = report_on("three", filename_prefix="once/report")
    first = client.run(sockets.graph.prompt)
    again = client.run(sockets.graph.prompt)
    assert sockets.report.id in again.cached
    assert again.outputs[sockets.report.id] == first.outputs[sockets.report.id], "shown again without running again"
    assert len(list((server.base / "output" / "once").iterdir())) == 2


def test_near_duplicates_are_sorted_out(client: HostClient) -> None:
    sockets = report_on("with copies")
    given = sockets.save(Node("1"))
    run = client.run(sockets.graph.prompt)
    assert sockets.indices(run, KEPT_INDICES) == [0, 1, 3]
    assert sockets.indices(run, REJECTED_INDICES) == [2, 4]
    pictures = pictures_of(client, run, given)
    assert np.array_equal(sockets.pictures(client, run, KEPT), [pictures[place] for place in (0, 1, 3)])
    assert np.array_equal(sockets.pictures(client, run, REJECTED), [pictures[place] for place in (2, 4)])


@pytest.mark.parametrize(("tolerance", "kept"), [(0.0, 5), (1.0, 3)])
def test_tolerance(client: HostClient, tolerance: float, kept: int) -> None:
    sockets = report_on("with copies", tolerance=tolerance)
    assert len(sockets.indices(client.run(sockets.graph.prompt), KEPT_INDICES)) == kept


@pytest.mark.parametrize(
    ("kind", "kept", "rejected", "said"),
    [
        ("none", [], [], "0 images: there is nothing to compare"),
        ("one", [0], [], "1 image: there is nothing to compare"),
        ("grey", [0], [1, 2], "3 images, as different as 1.0 .* 2 of them repeat another one"),
        ("not a number", [], [0, 1, 2], "3 of 3 images could not be measured"),
        ("one not a number", [0, 2, 3], [1], "3 images, as different as .* 1 of 4 images could not be measured"),
        ("several sizes", [0, 1, 2], [3], "4 images, as different as .* 1 of them repeats another one"),
        ("transparent", [0, 1, 2], [], "No two of them are near-duplicates"),
    ],
)
@pytest.mark.parametrize("features", ["random network", "colour layout"])
def test_whatever_comes_is_reported(
    client: HostClient, kind: str, kept: list[int], rejected: list[int], said: str, features: str
) -> None:
    """And what follows runs, or is skipped where nothing is left for it."""
    sockets = report_on(kind, features=features)
    run = client.run(sockets.graph.prompt)
    assert sockets.indices(run, KEPT_INDICES) == kept
    assert sockets.indices(run, REJECTED_INDICES) == rejected
    assert len(sockets.pictures(client, run, KEPT)) == len(kept)
    assert len(sockets.pictures(client, run, REJECTED)) == len(rejected)
    assert len(sockets.pictures(client, run, REPORT)) == 1
    first_line = sockets.text(run).split("\n\n")[0]
    assert re.search(said, first_line), first_line
    assert math.isnan(sockets.number(run, "mean_distance")) == (len(kept) + len(rejected) < 2 or not kept)


@pytest.mark.parametrize("kind", ["none", "one", "not a number", "several sizes"])
@pytest.mark.parametrize("socket", ["before", "reference", "held_out"])
def test_whatever_is_compared_with(client: HostClient, socket: str, kind: str) -> None:
    sockets = report_on("twelve", **{"reference": "twelve others", socket: kind})
    run = client.run(sockets.graph.prompt)
    assert len(sockets.indices(run, KEPT_INDICES)) == 12
    assert len(sockets.pictures(client, run, REPORT)) == 1


def test_references(client: HostClient) -> None:
    """Against themselves pictures are real and reach everything; against others they need not."""
    sockets = report_on("twelve", reference="twelve", held_out="twelve others", before="twelve others")
    run = client.run(sockets.graph.prompt)
    assert sockets.number(run, "precision") == sockets.number(run, "recall") == 1
    assert 0 < sockets.number(run, "irs_infinity") <= 1
    assert sockets.number(run, "irs_infinity_adjusted") >= 1


def test_too_few_references(client: HostClient) -> None:
    sockets = report_on("twelve", reference="three", neighbours=5)
    run = client.run(sockets.graph.prompt)
    assert math.isnan(sockets.number(run, "recall"))
    assert "5 neighbours need at least 6 images and as many references, got 12 and 3" in sockets.text(run)
    assert not math.isnan(sockets.number(run, "irs_infinity"))


def test_held_out_pictures_without_references(client: HostClient) -> None:
    sockets = report_on("three", held_out="twelve")
    run = client.run(sockets.graph.prompt)
    assert "The held-out images were not used: connect reference images" in sockets.text(run)
    assert math.isnan(sockets.number(run, "irs_infinity_adjusted"))


def test_exemplars_are_references(client: HostClient) -> None:
    graph = Graph()
    images = graph.add("TestPictures", kind="twelve")
    exemplars = graph.add("DiversityExemplarSet", folder="", images=images)
    sockets = Sockets(graph, reported(graph, images, exemplars=exemplars))
    assert sockets.number(client.run(graph.prompt), "recall") == 1


def test_remembered_pictures(client: HostClient) -> None:
    """They are known again by their previews or by remembered features."""
    graph = Guided(batch=2)
    wired = {"samples": graph.samples, "model": graph.demo, "name": "", "images": graph.decode(graph.samples)}
    with_previews = graph.add("DiversityRemember", **wired)
    with_features = graph.add("DiversityRemember", **wired, features="random network")
    others = graph.sample(prompt="cat", batch=2)
    reports = [
        graph.report(graph.decode(samples), bank=bank)
        for samples in (graph.samples, others)
        for bank in (with_previews[1], with_features[1])
    ]
    run = client.run(graph.prompt)
    closest = []
    for sockets in reports:
        (distance,) = re.findall(r"closest to the bank, at distance ([\d.e-]+);", sockets.text(run))
        closest.append(float(distance))
    assert max(closest[:2]) < 0.02 < 0.12 < min(closest[2:])
    for again, other in ((reports[0], reports[2]), (reports[1], reports[3])):
        assert "2 of 2 images repeat one of 2 images of the bank almost exactly: image 0, image 1." in again.text(run)
        assert "No image repeats one of 2 images of the bank" in other.text(run)


def test_images_that_show_the_same_face(server: HostServer, client: HostClient) -> None:
    sockets = report_on("faces", same_face=True, tolerance=0.0, filename_prefix="reports/faces")
    heard = listen(client, sockets.graph.prompt)
    run, text = heard.run, sockets.text(heard.run)
    said = "4 of 5 show the same face: image 0, image 2, image 3, image 4. No face was found in 1 of 5: image 1."
    assert said in text
    *_, shown = [told for node, told in heard.texts if node == sockets.report.id]
    assert shown.startswith("5 of 5 differ, 4 of 5 show the same face.\n") and said in shown
    assert sockets.indices(run, KEPT_INDICES) == [0, 1, 2, 3, 4], "nothing is rejected for it"
    written = server.base / "output" / "reports"
    content = json.loads((written / "faces_00001_.json").read_text(encoding="utf-8"))
    assert content["report"]["faces"]["without_face"] == [1]
    assert sorted(content["report"]["faces"]["groups"][0]) == [0, 2, 3, 4]
    assert "same_face_images,4" in (written / "faces_00001_.csv").read_text(encoding="utf-8")
    without = report_on("faces", same_face=False)
    run = client.run(without.graph.prompt)
    assert "face" not in without.text(run)
    assert len(sockets.pictures(client, heard.run, REPORT)[0]) > len(without.pictures(client, run, REPORT)[0])


def test_what_was_before_stands_behind_what_it_counts(client: HostClient) -> None:
    sockets = report_on("faces", before="twelve", same_face=True, tolerance=0.0)
    heard = listen(client, sockets.graph.prompt)
    *_, shown = [told for node, told in heard.texts if node == sockets.report.id]
    assert shown.startswith("5 of 5 differ (12 of 12 before), 4 of 5 show the same face (0 of 12 before).\n")


def test_progress_counts_what_is_compared_with_a_bank(client: HostClient) -> None:
    """The bar is not full while the previews of a bank are still read."""
    graph = Guided(batch=16)
    wired = {"samples": graph.plain, "model": graph.demo, "name": "", "images": graph.decode(graph.plain)}
    bank = graph.add("DiversityRemember", **wired)
    sockets = graph.report(graph.decode(graph.samples), bank=bank[1])
    heard = listen(client, graph.prompt)
    told = [(value, of) for node, value, of in heard.progress if node == sockets.report.id]
    assert told
    assert all(value < of and of > 16 + 16 for value, of in told)


def test_faces_of_a_bank(client: HostClient) -> None:
    graph = Guided(batch=1)
    images = graph.add("TestPictures", kind="faces")
    first = graph.add("ImageFromBatch", image=images, batch_index=0, length=1)
    wired = {"samples": graph.plain, "model": graph.demo, "name": "", "images": first}
    bank = graph.add("DiversityRemember", **wired)
    sockets = graph.report(images, bank=bank[1], same_face=True)
    assert "images of the bank were compared: those with a preview in which a face" in sockets.text(
        client.run(graph.prompt)
    )


def test_a_bank_without_pictures(client: HostClient) -> None:
    graph = Graph()
    bank = graph.add("DiversityMemoryBank", name="nothing yet", revision=-1)
    images = graph.add("TestPictures", kind="three")
    sockets = Sockets(graph, reported(graph, images, bank=bank))
    assert "The bank holds no images to compare" in sockets.text(client.run(graph.prompt))


def test_a_damaged_bank_costs_its_part_of_the_report_only(server: HostServer, client: HostClient) -> None:
    graph = Guided(batch=2)
    images = graph.decode(graph.plain)
    graph.add("DiversityRemember", samples=graph.plain, model=graph.demo, name="to be cut", images=images)
    client.run(graph.prompt)
    (shard,) = (server.base / "user" / "diversity_banks" / "to be cut" / "shards").iterdir()
    shard.write_bytes(bytes(shard.stat().st_size))
    again = Graph()
    bank = again.add("DiversityMemoryBank", name="to be cut", revision=-1)
    pictures = again.add("TestPictures", kind="three")
    sockets = Sockets(again, reported(again, pictures, bank=bank))
    run = client.run(again.prompt)
    assert shard.name[:12] in sockets.text(run)
    assert sockets.indices(run, KEPT_INDICES) == [0, 1, 2]


def test_a_trace_of_other_samples(client: HostClient) -> None:
    graph = Guided(batch=2)
    foreign = graph.report_with_trace(samples=graph.plain)
    part = graph.add("ImageFromBatch", image=graph.decode(graph.samples), batch_index=0, length=1)
    unpaired = graph.report_with_trace(images=part)
    run = client.run(graph.prompt)
    assert "The trace does not know these samples" in foreign.text(run)
    assert "There are 1 images for 2 samples" in unpaired.text(run)
    assert "Guidance: Moved 2 of 2 images" in unpaired.text(run)


def test_a_trace_without_what_it_is_looked_up_by(client: HostClient) -> None:
    graph = Guided(batch=1)
    graph.report(graph.decode(graph.samples), trace=graph.repelled[1])
    with pytest.raises(PromptRefused, match="Connect samples as well"):
        client.run(graph.prompt)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("wild\ntame\nwild\ntame\nwild", "Most alike are the images of"),
        ("wild\n\ntame", "There are 2 groups for 5 images: give one line per image"),
    ],
)
def test_groups(client: HostClient, lines: str, said: str) -> None:
    graph = Graph()
    text = graph.add("PrimitiveStringMultiline", value=lines)
    images = graph.add("TestPictures", kind="with copies")
    sockets = Sockets(graph, reported(graph, images, groups=text))
    told = sockets.text(client.run(graph.prompt))
    assert said in told
    assert ("wild: 3 images" in told) == said.startswith("Most")


def test_clip_vision(client: HostClient) -> None:
    without = report_on("three", features="clip vision")
    with pytest.raises(PromptRefused, match=r"need a CLIP vision model. Connect clip_vision"):
        client.run(without.graph.prompt)
    graph = Graph()
    encoder = graph.add("TestTinyClipVision")
    images = graph.add("TestPictures", kind="one not a number")
    sockets = Sockets(graph, reported(graph, images, features="clip vision", clip_vision=encoder))
    run = client.run(graph.prompt)
    assert "Feature space: clip-vision-v1:" in sockets.text(run)
    assert 1 in sockets.indices(run, REJECTED_INDICES)


def test_unknown_features(client: HostClient) -> None:
    with pytest.raises(PromptRefused, match=r"needs one of random network, .*, not 'taste'"):
        client.run(report_on("three", features="taste").graph.prompt)


@pytest.mark.parametrize("prefix", ["../outside", "/outside", "a/../../outside", "..", "."])
def test_files_stay_in_the_output_folder(server: HostServer, client: HostClient, prefix: str) -> None:
    with pytest.raises(PromptRefused, match=r"leads out of the output folder. Give a name"):
        client.run(report_on("three", filename_prefix=prefix).graph.prompt)
    graph = Graph()
    text = graph.add("PrimitiveString", value=prefix)
    images = graph.add("TestPictures", kind="three")
    sockets = Sockets(graph, reported(graph, images, filename_prefix=text))
    told = sockets.text(client.run(graph.prompt))
    assert "No files were written: The prefix" in told
    assert not list(server.base.rglob("outside*"))
    assert not list(Path("/").glob("outside*"))


def test_a_folder_that_cannot_be_written(server: HostServer, client: HostClient) -> None:
    (server.base / "output").mkdir(exist_ok=True)
    (server.base / "output" / "in the way").write_text("a file where a folder should be")
    sockets = report_on("three", filename_prefix="in the way/report")
    assert "No files were written: " in sockets.text(client.run(sockets.graph.prompt))


def test_cancel(client: HostClient) -> None:
    sockets = report_on("many")
    assert listen(client, sockets.graph.prompt, interrupt_at=sockets.report.id).run.status == "interrupted"


def test_the_example_workflow(server: HostServer, client: HostClient) -> None:
    """One report compares both batches, another one sorts the first."""
    prompt = quick(client, "Diversity report of an unguided and a guided batch")
    run = client.run(prompt)
    comparing, sorting = (
        run.outputs[identity]["text"][0] for identity, node in prompt.items() if node["class_type"] == "DiversityReport"
    )
    assert comparing.startswith("The images differ more than before")
    assert re.search("Guidance: Moved [5-8] of 8 images", comparing)
    assert sorting.startswith("8 images, as different as ")
    files = {path.stem.rstrip("0123456789_") for path in (server.base / "output" / "diversity").iterdir()}
    assert files >= {"unguided and guided", "kept", "rejected"}


def test_other_hosts(other_server: HostServer) -> None:
    sockets = report_on("several sizes", before="with copies", filename_prefix="newer/report")
    run = other_server.client.run(sockets.graph.prompt)
    assert sockets.indices(run, REJECTED_INDICES) == [3]
    assert len(sockets.pictures(other_server.client, run, KEPT)) == 3
    assert (other_server.base / "output" / "newer" / "report_00001_.csv").is_file()
