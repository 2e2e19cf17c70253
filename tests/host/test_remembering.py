"""Saving takes what the graph tells, refuses noise of any model; loading shows the newest; pins are exemplars."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.entries import BankEntry
from PIL import Image
from support.graphs import SAMPLER, Drawing, Graph, Node, pictures_of
from support.host_checkouts import PACK
from support.host_client import HostClient, RunFailed
from support.host_listener import listen
from support.host_server import HostServer
from support.strangers import first_shard
from support.workflows import to_api

SEED = 2**64 - 1
EXAMPLE = "03 Memory bank that grows with every queue"


@pytest.fixture
def banks(server: HostServer) -> Path:
    return server.base / "user" / "diversity_banks"


class Saving(Drawing):
    """A graph whose sampler is followed by Save to Memory Bank, without wires for prompt, seed and images."""

    def save(self, samples: Any, name: str, **inputs: Any) -> Node:
        return self.add("DiversityRemember", samples=samples, model=self.demo, name=name, **inputs)

    def custom(self, sigmas: Any = None, **guider: Any) -> Node:
        """SamplerCustomAdvanced with a guider."""
        noise = self.add("RandomNoise", noise_seed=SEED)
        sampler = self.add("KSamplerSelect", sampler_name="euler")
        return self.add(
            "SamplerCustomAdvanced",
            noise=noise,
            guider=self.add("CFGGuider", model=self.demo, cfg=3.0, negative=self.encode("not this"), **guider),
            sampler=sampler,
            sigmas=sigmas or self.schedule(),
            latent_image=self.empty(1),
        )

    def schedule(self) -> Node:
        return self.add("BasicScheduler", model=self.demo, scheduler="simple", steps=4, denoise=1.0)


def saved(banks: Path, name: str) -> list[BankEntry]:
    return list(MemoryBank(banks, name).snapshot().entries)


def plain(graph: Saving) -> Node:
    return graph.sample(batch=1, prompt="woman running", seed=SEED)


def wired_widgets(graph: Saving) -> Node:
    """Text and seed come along wires, from nodes that hold nothing else."""
    text = graph.add(
        "StringConcatenate", string_a="woman", string_b=graph.add("PrimitiveString", value="running"), delimiter=" "
    )
    seed = graph.add("PrimitiveInt", value=2**63 - 1)
    return graph.sample(batch=1, prompt=text, seed=seed)


def custom(graph: Saving) -> Node:
    return graph.custom(positive=graph.encode("woman running"))


def through_others(graph: Saving) -> Node:
    """Conditionings change on their way to the sampler, and latents on theirs to the bank."""
    changed = graph.add("FluxGuidance", conditioning=graph.encode("woman running"), guidance=3.5)
    samples = graph.custom(positive=changed)
    return graph.add("LatentFromBatch", samples=samples, batch_index=0, length=1)


def advanced(graph: Saving) -> Node:
    inputs = {name: value for name, value in SAMPLER.items() if name not in ("seed", "denoise")}
    return graph.add(
        "KSamplerAdvanced",
        model=graph.demo,
        positive=graph.encode("woman running"),
        negative=graph.encode(""),
        latent_image=graph.empty(1),
        add_noise="enable",
        noise_seed=SEED,
        start_at_step=0,
        end_at_step=10000,
        return_with_leftover_noise="enable",
        **inputs,
    )


@pytest.mark.parametrize("make", [plain, wired_widgets, custom, through_others, advanced])
def test_prompt_seed_and_preview_need_no_wire(client: HostClient, banks: Path, make: Any) -> None:
    graph = Saving()
    samples = make(graph)
    node = graph.save(samples, make.__name__)
    shown = graph.pictures(samples)
    heard = listen(client, graph.prompt)
    (entry,) = saved(banks, make.__name__)
    assert entry.prompt == "woman running"
    assert entry.seed == (2**63 - 1 if make is wired_widgets else SEED)
    assert any(shown == node.id and "Saved with previews, prompt and seed." in text for shown, text in heard.texts)
    (thumbnail,) = MemoryBank(banks, make.__name__).snapshot().thumbnails([entry.id]).values()
    (picture,) = pictures_of(client, heard.run, shown)
    assert np.abs(thumbnail.numpy().astype(int) - picture.astype(int)).max() <= 1


def test_the_shipped_example_saves_all_of_it(client: HostClient, banks: Path) -> None:
    workflow = json.loads((PACK / "example_workflows" / f"{EXAMPLE}.json").read_text(encoding="utf-8"))
    prompt = to_api(workflow, client.object_info())
    (node,) = [node for node in prompt.values() if node["class_type"] == "DiversityRemember"]
    assert not {"images", "prompt", "seed", "vae"} & node["inputs"].keys()
    node["inputs"]["name"] = "of the example"
    client.run(prompt)
    snapshot = MemoryBank(banks, "of the example").snapshot()
    assert len(snapshot.thumbnails(entry.id for entry in snapshot.entries)) == len(snapshot) == 4
    assert {(entry.prompt, entry.seed) for entry in snapshot.entries} == {("woman police officer", 1)}


def test_wires_win_over_what_the_graph_tells(client: HostClient, banks: Path) -> None:
    graph = Saving()
    samples = plain(graph)
    white = graph.add("EmptyImage", width=64, height=64, batch_size=1, color=0xFFFFFF)
    text = graph.add("PrimitiveString", value="of my own")
    graph.save(samples, "own facts", prompt=text, seed=graph.add("PrimitiveInt", value=7), images=white)
    client.run(graph.prompt)
    (entry,) = saved(banks, "own facts")
    assert (entry.prompt, entry.seed) == ("of my own", 7)
    (thumbnail,) = MemoryBank(banks, "own facts").snapshot().thumbnails([entry.id]).values()
    assert bool((thumbnail == 255).all())


def test_what_the_graph_does_not_tell_is_said(client: HostClient, banks: Path) -> None:
    """An encoded image has no sampler; a text that a node computes is unknown before it runs."""
    graph = Saving()
    picture = graph.add("VAEDecode", samples=graph.sample(batch=1), vae=graph.demo[2])
    node = graph.save(graph.add("VAEEncode", pixels=picture, vae=graph.demo[2]), "untold")
    heard = listen(client, graph.prompt)
    (entry,) = saved(banks, "untold")
    assert (entry.prompt, entry.seed) == (None, None)
    assert any("The graph does not tell prompt and seed" in text for shown, text in heard.texts if shown == node.id)


MODELS = {
    "unet": ("TestTinyModel", "EmptyLatentImage", {}),
    "wan": ("TestTinyModel", "EmptyHunyuanLatentVideo", {"length": 5}),
    "flux2": ("TestArchitecture", "EmptyFlux2LatentImage", {}),
}


@pytest.mark.parametrize("decoder", ["", "pixel_space"])
@pytest.mark.parametrize("kind", MODELS)
def test_without_a_vae_that_decodes_previews_are_linear(
    client: HostClient, banks: Path, kind: str, decoder: str
) -> None:
    """Each latent pixel is one of the preview; a VAE of another model costs no image."""
    loader, empty, size = MODELS[kind]
    graph = Graph()
    source = graph.add(loader, kind=kind, **({"seed": 0} if loader == "TestArchitecture" else {}))
    latent = graph.add(empty, width=64, height=96, batch_size=2, **size)
    sampler = {**SAMPLER, "positive": source[1], "negative": source[2], "latent_image": latent}
    samples = graph.add("KSampler", model=source, **sampler)
    vae = {"vae": graph.add("VAELoader", vae_name=decoder)} if decoder else {}
    name = f"{kind} {decoder or 'linear'}"
    graph.add("DiversityRemember", samples=samples, model=source, name=name, **vae)
    client.run(graph.prompt)
    snapshot = MemoryBank(banks, name).snapshot()
    thumbnails = snapshot.thumbnails(entry.id for entry in snapshot.entries)
    assert [tuple(each.shape) for each in thumbnails.values()] == [(12, 8, 3)] * 2


def test_a_second_queue_adds_nothing(client: HostClient, banks: Path) -> None:
    graph = Saving()
    graph.save(plain(graph), "queued twice")
    client.run(graph.prompt)
    again = Saving()
    again.add("PreviewAny", source=again.add("PrimitiveInt", value=1))  # other ids: nothing is cached
    again.save(plain(again), "queued twice")
    client.run(again.prompt)
    bank = MemoryBank(banks, "queued twice")
    assert (len(bank.snapshot()), bank.revision) == (1, 1)


def first_part(graph: Saving) -> Any:
    return graph.add("SplitSigmas", sigmas=graph.schedule(), step=2)


def first_share(graph: Saving) -> Any:
    return graph.add("SplitSigmasDenoise", sigmas=graph.schedule(), denoise=0.5)


def flipped(graph: Saving) -> Any:
    return graph.add("FlipSigmas", sigmas=graph.schedule())


@pytest.mark.parametrize("make", [first_part, first_share, flipped])
def test_noise_that_an_unguided_model_leaves_is_refused(client: HostClient, banks: Path, make: Any) -> None:
    graph = Saving()
    samples = graph.custom(make(graph), positive=graph.encode("woman running"))
    graph.save(samples, "noisy")
    with pytest.raises(RunFailed, match=r"The latents to save still hold noise: .*Save the result of the sampler that"):
        client.run(graph.prompt)
    assert not (banks / "noisy").exists()


def last_part(graph: Saving) -> Any:
    return graph.add("SplitSigmas", sigmas=graph.schedule(), step=0)[1]


def whole(graph: Saving) -> Any:
    return graph.add("SplitSigmas", sigmas=graph.schedule(), step=4)


@pytest.mark.parametrize("make", [last_part, whole])
def test_schedules_that_end_clean_are_saved(client: HostClient, banks: Path, make: Any) -> None:
    graph = Saving()
    graph.save(graph.custom(make(graph), positive=graph.encode("woman running")), make.__name__)
    client.run(graph.prompt)
    assert len(saved(banks, make.__name__)) == 1


def test_the_last_estimate_of_a_first_part_is_saved(client: HostClient, banks: Path) -> None:
    graph = Saving()
    samples = graph.custom(first_part(graph), positive=graph.encode("woman running"))
    graph.save(samples[1], "estimate")
    client.run(graph.prompt)
    assert len(saved(banks, "estimate")) == 1


def test_loading_shows_the_newest(client: HostClient, banks: Path) -> None:
    graph = Saving()
    graph.save(graph.sample(batch=3), "shown")
    client.run(graph.prompt)
    reading = Graph()
    bank = reading.add("DiversityMemoryBank", name="shown", revision=-1)
    reading.add("PreviewAny", source=bank[1])
    (file,) = client.run(reading.prompt).outputs[bank.id]["images"]
    strip = Image.open(io.BytesIO(client.get("/view", **file).content))
    assert strip.size == (3 * 100 - 4, 96)
    (newest,) = MemoryBank(banks, "shown").snapshot().thumbnails([saved(banks, "shown")[-1].id]).values()
    shown = np.asarray(strip.convert("RGB").crop((0, 0, 96, 96)).resize((64, 64))).astype(int)
    assert np.abs(shown - newest.numpy().astype(int)).mean() < 12
    reading.add("PreviewAny", source=bank[2])
    other = reading.add("DiversityMemoryBank", name="shown", revision=1)
    reading.add("PreviewAny", source=other[1])
    assert client.run(reading.prompt).outputs[other.id]["images"] == [file]


def test_a_bank_without_previews_or_with_damaged_ones_is_loaded(client: HostClient, banks: Path) -> None:
    bank = MemoryBank(banks, "no strip")
    bank.append(torch.randn(2, 16, 8, 8), latent_format="SD3Emoji")
    reading = Graph()
    node = reading.add("DiversityMemoryBank", name="no strip", revision=-1)
    reading.add("PreviewAny", source=node[1])
    assert "images" not in client.run(reading.prompt).outputs.get(node.id, {})
    thumbnails = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    bank.append(torch.randn(1, 16, 8, 8), latent_format="SD3Emoji", thumbnails=thumbnails)
    bank.snapshot().parts[-1]["thumbnails"].shard.path.write_bytes(first_shard(bank).read_bytes()[:10])
    with pytest.raises(RunFailed, match="Restore it from a backup"):
        client.run(reading.prompt)  # the size is checked before anything is shown


def test_pinned_images_are_exemplars(client: HostClient, banks: Path) -> None:
    graph = Saving()
    graph.save(graph.sample(batch=3), "pinned ones")
    client.run(graph.prompt)

    def reading(**inputs: Any) -> tuple[Saving, Node]:
        graph = Saving()
        node = graph.add("DiversityExemplarSet", folder="", pinned_of="pinned ones", **inputs)
        return graph, graph.add("PreviewAny", source=node[1])

    graph, _ = reading(vae=["1", 2])
    with pytest.raises(RunFailed, match=r"No image of the bank 'pinned ones' is pinned\. Pin some in the sidebar"):
        client.run(graph.prompt)
    bank = MemoryBank(banks, "pinned ones")
    for count in (1, 2):
        bank.pin([entry.id for entry in bank.snapshot().entries[:count]])
        graph, shown = reading(vae=["1", 2])
        assert client.run(graph.prompt).outputs[shown.id]["text"] == [str(count)]
    graph, _ = reading()
    with pytest.raises(RunFailed, match="Connect vae, which decodes them"):
        client.run(graph.prompt)
