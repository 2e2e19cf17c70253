"""Bad input ends in a sentence that says what happened and what to do, and nothing is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.graphs import SAMPLER, Drawing, Graph, repelled
from support.host_client import HostClient, PromptRefused, RunFailed
from support.host_listener import listen
from support.host_server import HostServer


def banks(server: HostServer) -> Path:
    return server.base / "user" / "diversity_banks"


def remember(client: HostClient, name: str, **inputs: Any) -> None:
    graph = Drawing()
    samples = graph.sample(batch=2)
    graph.add("DiversityRemember", samples=samples, model=graph.demo, name=name, **inputs)
    client.run(graph.prompt)


def drawing_with_bank(name: str, revision: int = -1) -> Drawing:
    graph = Drawing()
    bank = graph.add("DiversityMemoryBank", name=name, revision=revision)
    graph.latents(graph.sample(graph.repel(bank=bank)))
    return graph


@pytest.mark.parametrize("name", ["../secrets", "a/b", "C:\\banks", "..", "/etc", ".hidden", "nul", "tab\there"])
@pytest.mark.parametrize("node", ["DiversityMemoryBank", "DiversityRemember"])
def test_a_name_that_is_a_path(server: HostServer, client: HostClient, node: str, name: str) -> None:
    graph = Drawing()
    if node == "DiversityRemember":
        graph.add(node, samples=graph.sample(), model=graph.demo, name=name)
    else:
        graph.add("PreviewAny", source=graph.add(node, name=name, revision=-1)[1])
    with pytest.raises(PromptRefused, match=r"The bank's name .* (Give a name, not a path|Use letters|Choose another)"):
        client.run(graph.prompt)
    assert not (server.base / "user" / "secrets").exists()


def test_a_name_along_a_wire_is_checked_too(client: HostClient) -> None:
    graph = Graph()
    text = graph.add("PrimitiveString", value="../secrets")
    bank = graph.add("DiversityMemoryBank", name=text, revision=-1)
    graph.add("PreviewAny", source=bank[1])
    with pytest.raises(RunFailed, match="Give a name, not a path"):
        client.run(graph.prompt)


@pytest.mark.parametrize("setting", ["radius", "strength", "absolute_radius"])
@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_a_number_out_of_range(client: HostClient, setting: str, value: float) -> None:
    graph = Drawing()
    graph.latents(graph.sample(graph.repel(**{setting: value})))
    sentence = rf'{setting}"? .*(of at least 0|from -?[0-9.]+ to [0-9.]+), not (-0.5|nan|inf)'
    with pytest.raises(PromptRefused, match=sentence):
        client.run(graph.prompt)


def test_a_number_out_of_range_along_a_wire(client: HostClient) -> None:
    graph = Drawing()
    negative = graph.add("PrimitiveFloat", value=-2.0)
    graph.latents(graph.sample(graph.repel(radius=negative)))
    with pytest.raises(RunFailed, match=r'"radius" of .* needs a number from .*, not -2\.'):
        client.run(graph.prompt)


def test_a_model_whose_latents_the_bank_does_not_fit(client: HostClient) -> None:
    remember(client, "of the demo")
    graph = Graph()
    source = graph.add("TestTinyModel", kind="unet")
    bank = graph.add("DiversityMemoryBank", name="of the demo", revision=-1)
    model = repelled(graph, source, bank=bank)
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    samples = graph.add("KSampler", model=model, positive=source[1], negative=source[2], latent_image=latent, **SAMPLER)
    graph.latents(samples)
    with pytest.raises(RunFailed, match=r"'of the demo' holds SD3Emoji latents, but .* are SD15. Use another bank"):
        client.run(graph.prompt)


def test_remembering_latents_of_another_format(client: HostClient) -> None:
    remember(client, "one format")
    graph = Graph()
    source = graph.add("TestTinyModel", kind="unet")
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    samples = graph.add(
        "KSampler", model=source, positive=source[1], negative=source[2], latent_image=latent, **SAMPLER
    )
    graph.add("DiversityRemember", samples=samples, model=source, name="one format")
    with pytest.raises(RunFailed, match=r"holds SD3Emoji latents, but the latents to save are SD15"):
        client.run(graph.prompt)


def test_remembering_latents_of_another_model(client: HostClient) -> None:
    graph = Drawing()
    other = graph.add("TestTinyModel", kind="unet")
    graph.add("DiversityRemember", samples=graph.sample(), model=other, name="x")
    with pytest.raises(RunFailed, match=r"16 channels and this model's have 4. Connect the model that made them"):
        client.run(graph.prompt)


def test_remembering_empty_latents(client: HostClient) -> None:
    graph = Drawing()
    graph.add("DiversityRemember", samples=graph.empty(1), model=graph.demo, name="x")
    with pytest.raises(RunFailed, match=r"are empty. Connect the output of the sampler"):
        client.run(graph.prompt)


def test_remembering_latents_with_leftover_noise(server: HostServer, client: HostClient) -> None:
    graph = Drawing()
    samples = graph.half_sample(graph.repel())
    graph.add("DiversityRemember", samples=samples, model=graph.demo, name="noisy")
    with pytest.raises(RunFailed, match=r"still hold noise.* Finish them with a second sampler"):
        client.run(graph.prompt)
    assert not (banks(server) / "noisy").exists()


def test_images_that_do_not_belong_to_the_latents(client: HostClient) -> None:
    graph = Drawing()
    image = graph.add("EmptyImage", width=64, height=64, batch_size=3, color=0)
    graph.add("DiversityRemember", samples=graph.sample(batch=2), model=graph.demo, name="x", images=image)
    with pytest.raises(RunFailed, match=r"3 images for 2 latents. Connect the decoded samples"):
        client.run(graph.prompt)


def test_pictures_to_avoid_of_another_model(client: HostClient) -> None:
    graph = Drawing()
    other = graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph.latents(graph.sample(graph.repel(avoid=other)))
    with pytest.raises(RunFailed, match=r"images to avoid .* encode them with this model's VAE"):
        client.run(graph.prompt)


def test_a_revision_that_is_not_there(client: HostClient) -> None:
    remember(client, "short history")
    with pytest.raises(RunFailed, match="revision"):
        client.run(drawing_with_bank("short history", revision=99).prompt)


def test_a_bank_file_cut_in_half(server: HostServer, client: HostClient) -> None:
    remember(client, "cut")
    (shard,) = (banks(server) / "cut" / "shards").iterdir()
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunFailed, match=shard.name[:12]):
        client.run(drawing_with_bank("cut").prompt)
    shard.write_bytes(whole)
    client.run(drawing_with_bank("cut").prompt)


def test_an_index_that_is_no_database(server: HostServer, client: HostClient) -> None:
    folder = banks(server) / "no database"
    folder.mkdir(parents=True)
    (folder / "index.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(RunFailed, match=r"database .* is damaged .* Restore it"):
        client.run(drawing_with_bank("no database").prompt)
    shutil.rmtree(folder)


def test_a_file_where_the_folder_of_tensors_should_be(server: HostServer, client: HostClient) -> None:
    folder = banks(server) / "full"
    folder.mkdir(parents=True)
    (folder / "shards").write_text("in the way")
    with pytest.raises(RunFailed, match=r"shards is a link or no folder.*use another bank"):
        remember(client, "full")


def test_unknown_words_are_told(server: HostServer, client: HostClient) -> None:
    """On the node that encodes the prompt, and in the log; the picture is drawn without them."""
    graph = Drawing()
    graph.latents(graph.sample(prompt="woman floogling zorp"))
    heard = listen(client, graph.prompt).texts
    encoders = [node for node, made in graph.prompt.items() if made["inputs"].get("text") == "woman floogling zorp"]
    assert [text for node, text in heard if node in encoders] == [
        'The embedded model does not know these words and ignores them: "floogling", "zorp". The help lists its words.'
    ]
    assert 'ignores them: "floogling", "zorp"' in server.log


def test_too_many_words(client: HostClient) -> None:
    graph = Drawing()
    graph.encode("")
    graph.latents(graph.sample(prompt="woman man running biking google twitter dark skin light skin doctor santa"))
    with pytest.raises(RunFailed, match=r"reads 8 words.*leave some out"):
        client.run(graph.prompt)


def test_what_was_done_is_shown_on_the_node(client: HostClient) -> None:
    graph = Drawing()
    repelled = graph.repel(radius=0.0, absolute_radius=10.0)
    graph.latents(graph.sample(repelled, seed=77))
    texts = [text for node, text in listen(client, graph.prompt).texts if node == repelled.id]
    assert len(texts) == 1
    assert texts[0].startswith("Moved 2 of 2 images")


def test_images_that_are_smaller_than_the_vae_can_read(client: HostClient) -> None:
    graph = Drawing()
    speck = graph.add("EmptyImage", width=1, height=1, batch_size=1, color=0)
    graph.add("PreviewAny", source=graph.add("DiversityExemplarSet", folder="", images=speck, vae=graph.demo[2])[0])
    with pytest.raises(RunFailed, match="The VAE cannot read images of 1 x 1 pixels: give larger ones"):
        client.run(graph.prompt)
