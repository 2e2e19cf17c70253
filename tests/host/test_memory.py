"""Memory Bank and Save to Memory Bank in a real server: growth, reproduction, caching."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from support.graphs import REPELLENCY, Drawing, Graph, Node, latents_of, pictures_of
from support.host_client import HostClient, Run, RunFailed
from support.host_listener import listen
from support.host_server import HostServer
from support.spreading import spread_out
from support.strangers import change

MODULE_BANK = "grows with every queue"


class Loop(Drawing):
    """The bank of a name, a picture that keeps away from it, and the picture remembered."""

    def __init__(self, name: str, *, revision: int = -1, remember: bool = True, seed: int = 1, batch: int = 1) -> None:
        super().__init__()
        self.bank = self.add("DiversityMemoryBank", name=name, revision=revision)
        self.repelled = self.repel(bank=self.bank)
        self.samples = self.sample(self.repelled, batch=batch, seed=seed)
        self.saved = self.latents(self.samples)
        self.shown = self.pictures(self.samples)
        if remember:
            self.remembered = self.add("DiversityRemember", samples=self.samples, model=self.demo, name=name)


def test_entries_that_cannot_be_read_are_told_by_the_guidance(server: HostServer, client: HostClient) -> None:
    graph = Drawing()
    graph.add("DiversityRemember", samples=graph.sample(batch=3), model=graph.demo, name="damaged")
    client.run(graph.prompt)
    bank = MemoryBank(server.base / "user" / "diversity_banks", "damaged")
    change(bank, "UPDATE parts SET row = -1 WHERE position = 1 AND name = 'latents'")
    graph = Drawing()
    read = graph.add("DiversityMemoryBank", name="damaged", revision=-1)
    guided = [graph.repel(bank=read), spread_out(graph, graph.demo[0], bank=read)]
    for model in guided:
        graph.latents(graph.sample(model, batch=1))
    texts = listen(client, graph.prompt).texts
    for node in guided:
        told = " ".join(text for shown, text in texts if shown == node.id)
        assert "1 entry of the bank 'damaged' could not be read. Entry " in told


def bank_state(client: HostClient, run: Run, shown: Node, name: str) -> dict[str, int]:
    """What the picture's metadata says of the bank."""
    return json.loads(client.picture_file(run.outputs[shown.id]["images"][0]).info["diversity_banks"])[name]


def test_three_queues(client: HostClient) -> None:
    """The bank grows, every picture differs from the earlier ones, and each can be drawn again."""
    graph = Loop(MODULE_BANK)
    runs = [client.run(graph.prompt) for _ in range(3)]
    states = [bank_state(client, run, graph.shown, MODULE_BANK) for run in runs]
    assert [state["revision"] for state in states] == [0, 1, 2]
    assert [state["images"] for state in states] == [0, 1, 2]
    latents = [latents_of(client, run, graph.saved) for run in runs]
    distances = [float(torch.dist(latents[2], earlier)) for earlier in latents[:2]]
    assert min(distances) > 3
    first, second, third = (pictures_of(client, run, graph.shown)[0].astype(float) for run in runs)
    assert np.abs(third - first).mean() > 3
    assert np.abs(third - second).mean() > 3
    for state, run in zip(states, runs, strict=True):
        again = Loop(MODULE_BANK, revision=state["revision"], remember=False)
        redrawn = client.run(again.prompt)
        assert torch.equal(latents_of(client, redrawn, again.saved), latents_of(client, run, graph.saved))
        for old, new in zip(
            pictures_of(client, run, graph.shown), pictures_of(client, redrawn, again.shown), strict=True
        ):
            assert np.array_equal(old, new)


def test_a_queue_runs_again_exactly_when_the_bank_has_changed(client: HostClient) -> None:
    graph = Loop("cache", remember=False)
    depends = {graph.bank.id, graph.repelled.id, graph.samples.id, graph.saved.id, graph.shown.id}
    client.run(graph.prompt)
    assert depends <= client.run(graph.prompt).cached, "nothing has changed"
    growing = Loop("cache")
    client.run(growing.prompt)
    third = client.run(graph.prompt)
    assert not depends & third.cached, "the bank has grown"
    assert graph.demo.id in third.cached
    assert depends <= client.run(graph.prompt).cached, "nothing has changed since"


def test_a_revision_stays_cached_while_the_bank_grows(client: HostClient) -> None:
    graph = Loop("pinned", revision=0, remember=False)
    others = graph.sample(batch=1)
    graph.add("DiversityRemember", samples=others, model=graph.demo, name="pinned")
    client.run(graph.prompt)
    graph.prompt[others.id]["inputs"]["seed"] = 2
    assert {graph.bank.id, graph.samples.id, graph.shown.id} <= client.run(graph.prompt).cached
    assert count(client, "pinned") == (2, 2)


def test_remembering_twice_changes_nothing(client: HostClient) -> None:
    graph = Loop("once", batch=2)
    client.run(graph.prompt)
    before = count(client, "once")
    # Another node remembers the same latents, which the newest revision no longer gives by itself.
    again = Loop("once", revision=0, remember=False, batch=2)
    again.add("DiversityRemember", samples=again.samples, model=again.demo, name="once", capacity=50)
    client.run(again.prompt)
    assert before == count(client, "once") == (2, 1)


def count(client: HostClient, name: str) -> tuple[int, int]:
    """How many pictures a bank holds, and its revision."""
    graph = Graph()
    bank = graph.add("DiversityMemoryBank", name=name, revision=-1)
    shown = [graph.add("PreviewAny", source=bank[slot]) for slot in (1, 2)]
    outputs = client.run(graph.prompt).outputs
    pictures, revision = (int(outputs[node.id]["text"][0]) for node in shown)
    return pictures, revision


def test_memory_along_wires(client: HostClient) -> None:
    """Each sampler of a graph keeps away from what the earlier ones drew; nothing touches the disk."""
    graph = Drawing()
    bank = None
    saved = []
    for _ in range(3):
        repelled = graph.repel(**({} if bank is None else {"bank": bank[1]}))
        samples = graph.sample(repelled, batch=1)
        wires = {} if bank is None else {"bank": bank[1]}
        bank = graph.add("DiversityRemember", samples=samples, model=repelled, name="", **wires)
        saved.append(graph.latents(bank))
    run = client.run(graph.prompt)
    first, second, third = (latents_of(client, run, node) for node in saved)
    assert min(float(torch.dist(*pair)) for pair in ((first, second), (first, third), (second, third))) > 3
    again = client.run(graph.prompt)
    assert {node.id for node in saved} <= again.cached


def test_capacity_thumbnails_prompt_and_seed(server: HostServer, client: HostClient) -> None:
    graph = Drawing()
    text = graph.add("PrimitiveString", value="woman running")
    seed = graph.add("PrimitiveInt", value=2**63 - 1)
    samples = graph.sample(batch=3)
    decoded = graph.add("VAEDecode", samples=samples, vae=graph.demo[2])
    graph.add(
        "DiversityRemember",
        samples=samples,
        model=graph.demo,
        name="two at most",
        images=decoded,
        prompt=text,
        seed=seed,
        capacity=2,
    )
    client.run(graph.prompt)
    snapshot = MemoryBank(server.base / "user" / "diversity_banks", "two at most").snapshot()
    assert len(snapshot) == 2
    assert {(entry.prompt, entry.seed, entry.latent_format) for entry in snapshot.entries} == {
        ("woman running", 2**63 - 1, "SD3Emoji")
    }
    thumbnails = snapshot.thumbnails([entry.id for entry in snapshot.entries])
    assert [thumbnail.shape for thumbnail in thumbnails.values()] == [(64, 64, 3)] * 2


def test_an_interrupt_leaves_bank_and_server_usable(client: HostClient) -> None:
    name = "interrupted"
    client.run(Loop(name).prompt)
    graph = Loop(name, seed=3)
    graph.prompt[graph.samples.id]["inputs"]["steps"] = 2000
    assert listen(client, graph.prompt, interrupt_at=graph.samples.id).run.status == "interrupted"
    assert count(client, name) == (1, 1)
    graph.prompt[graph.samples.id]["inputs"]["steps"] = 3
    client.run(graph.prompt)
    assert count(client, name) == (2, 2)


def test_the_trace_belongs_to_the_latents(client: HostClient) -> None:
    """One MODEL sampled twice: each result finds its own record, cached or not."""
    graph = Drawing()
    repelled = graph.repel()
    near, far = graph.sample(repelled, batch=2), graph.sample(repelled, batch=1)
    shown = [
        graph.add("TestTrace", samples=samples, trace=repelled[1], model=graph.demo)
        for samples in (near, far, graph.sample(batch=2, seed=8))
    ]
    run = client.run(graph.prompt)
    pushed, alone, foreign = (run.outputs[node.id]["text"][0] for node in shown)
    assert pushed.startswith("Moved 2 of 2 images")
    assert alone.startswith("Nothing was moved")
    assert foreign == ""


def test_avoiding_pictures_that_are_given(client: HostClient) -> None:
    graph = Drawing()
    target = graph.sample(batch=1)
    samples = graph.sample(graph.repel(avoid=target), batch=1)
    saved = graph.latents(target), graph.latents(samples)
    run = client.run(graph.prompt)
    old, new = (latents_of(client, run, node) for node in saved)
    assert float(torch.dist(old, new)) > 3


def test_pictures_of_another_size_are_left_out_and_counted(client: HostClient) -> None:
    graph = Loop("small ones", batch=2)
    client.run(graph.prompt)
    large = Drawing()
    bank = large.add("DiversityMemoryBank", name="small ones", revision=-1)
    repelled = large.repel(bank=bank)
    latent = large.add("EmptySD3LatentImage", width=96, height=64, batch_size=1)
    steered, plain = large.sample(repelled, latent=latent), large.sample(latent=latent)
    shown = large.add("TestTrace", samples=steered, trace=repelled[1], model=large.demo)
    saved = large.latents(steered), large.latents(plain)
    run = client.run(large.prompt)
    assert torch.equal(*(latents_of(client, run, node) for node in saved))
    assert "2 references of another image size were left out" in run.outputs[shown.id]["text"][0]


def test_a_revision_of_another_bank_of_the_same_name_is_refused(client: HostClient) -> None:
    """The digest goes along in the saved workflow; a recipient's own bank of that name has other content."""
    graph = Drawing()
    vae = graph.demo[2]
    graph.add("DiversityRemember", samples=graph.sample(batch=1), model=graph.demo, name="shared", vae=vae)
    client.run(graph.prompt)
    reading = Drawing()
    bank = reading.add("DiversityMemoryBank", name="shared", revision=1)
    saved = reading.pictures(reading.sample(reading.repel(bank=bank), batch=1))
    workflow = {"nodes": [{"type": "DiversityMemoryBank", "widgets_values": ["shared", -1]}, {"type": "other"}]}
    run = client.wait(client.queue(reading.prompt, {"extra_pnginfo": {"workflow": workflow}}))
    info = client.picture_file(run.outputs[saved.id]["images"][0]).info
    digest = json.loads(info["diversity_banks"])["shared"]["digest"]
    assert json.loads(info["workflow"])["nodes"][0]["widgets_values"] == ["shared", -1, digest]
    for given, refused in ((digest, False), ("", False), ("0" * 64, True)):
        again = Drawing()
        again.add("PreviewAny", source=again.add("DiversityMemoryBank", name="shared", revision=1, digest=given)[1])
        if refused:
            with pytest.raises(RunFailed, match="another bank of the same name"):
                client.run(again.prompt)
        else:
            client.run(again.prompt)


def test_one_bank_serves_two_prompts(client: HostClient) -> None:
    """Only the images of the prompt count; the node says how many."""
    for prompt, seed in (("cat", 1), ("doctor", 2)):
        graph = Drawing()
        samples = graph.sample(batch=2, seed=seed)
        graph.add("DiversityRemember", samples=samples, model=graph.demo, name="two prompts", prompt=prompt)
        client.run(graph.prompt)
    told = {}
    for prompt, similarity in (("cat", 0.5), ("doctor", 0.5), ("horse", 0.5), ("horse", 0.0)):
        graph = Drawing()
        options = graph.add("DiversitySparseRepellencyOptions", prompt=prompt, prompt_similarity=similarity)
        bank = graph.add("DiversityMemoryBank", name="two prompts", revision=-1)
        settings = {**REPELLENCY, "model": graph.demo[0], "bank": bank, "options": options}
        guided = graph.add("DiversitySparseRepellency", **settings)
        graph.latents(graph.sample(guided, batch=1, seed=3))
        texts = listen(client, graph.prompt).texts
        told[prompt, similarity] = " ".join(text for shown, text in texts if shown == guided.id)
    assert "2 of 4 images of the bank count, as their prompts are similar." in told["cat", 0.5]
    assert "2 of 4 images of the bank count, as their prompts are similar." in told["doctor", 0.5]
    assert "0 of 4 images of the bank count" in told["horse", 0.5]
    assert "images of the bank count" not in told["horse", 0.0]
