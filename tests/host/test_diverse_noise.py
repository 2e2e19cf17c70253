"""Diverse Noise and Pick Representatives in a real server."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.guidance.noise import NoiseDesign
from support.graphs import SAMPLER, Drawing, Graph, Node, latents_of, pictures_of
from support.host_client import HostClient, PromptRefused, RunFailed
from support.host_listener import listen
from support.host_server import HostServer
from torch import Tensor

NOISE: dict[str, Any] = {"set_seed": 5, "mode": "quantised", "set_size": 4, "part": 0}
MODES = ["quantised", "simplex", "independent"]
SHAPE = (16, 8, 8)


def noise_node(graph: Drawing, model: Any = None, **settings: Any) -> Node:
    wired = {} if model is False else {"model": model or graph.demo[0]}
    chosen = {name: settings.pop(name) for name in ("designed", "part_size") if name in settings}
    if chosen:
        wired["options"] = graph.add("DiversityNoiseOptions", **{"designed": 48, "part_size": 0, **chosen})
    return graph.add("DiversityNoise", **{**NOISE, **wired, **settings})


def custom_sample(graph: Drawing, noise: Any, latent: Any, model: Any = None) -> Node:
    """As ``Drawing.sample``, with the noise of a socket."""
    guider = graph.add(
        "CFGGuider",
        model=model or graph.demo[0],
        positive=graph.encode("woman running"),
        negative=graph.encode(""),
        cfg=SAMPLER["cfg"],
    )
    sigmas = graph.add("BasicScheduler", model=graph.demo[0], scheduler="simple", steps=SAMPLER["steps"], denoise=1.0)
    sampler = graph.add("KSamplerSelect", sampler_name="euler")
    return graph.add(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
    )


def drawn(client: HostClient, batch: int = 4, **settings: Any) -> Tensor:
    """Latents that KSampler draws from a design."""
    graph = Drawing()
    return _run(client, graph, graph.sample(noise_node(graph, **settings)[1], batch=batch))


def _run(client: HostClient, graph: Graph, samples: Node) -> Tensor:
    saved = graph.latents(samples)
    return latents_of(client, client.run(graph.prompt), saved)


@pytest.mark.parametrize("mode", MODES)
def test_noise_and_patched_model_agree_with_the_loop_without_host(client: HostClient, mode: Any) -> None:
    graph = Drawing()
    node = noise_node(graph, mode=mode)
    by_patch = graph.latents(graph.sample(node[1], batch=4, seed=99))
    by_socket = graph.latents(custom_sample(graph, node[0], graph.empty(4)))
    run = client.run(graph.prompt)
    patched, socket = latents_of(client, run, by_patch), latents_of(client, run, by_socket)
    assert torch.equal(patched, socket)
    noise = NoiseDesign(5, mode, 4).sample(range(4), SHAPE)
    alone = EmbeddedModel.load().sample(["woman running"] * 4, 0, steps=3, cfg=5.0, noise=noise)
    assert torch.allclose(patched, alone, atol=0.01)


def test_hosts_of_other_ages(other_server: HostServer) -> None:
    graph = Drawing()
    node = noise_node(graph)
    one = graph.add("LatentFromBatch", samples=graph.empty(6), batch_index=4, length=1)
    saved = [graph.latents(graph.sample(node[1], latent=one)), graph.latents(custom_sample(graph, node[0], one))]
    run = other_server.client.run(graph.prompt)
    patched, socket = (latents_of(other_server.client, run, latents) for latents in saved)
    assert torch.equal(patched, socket)


@pytest.mark.parametrize("by_socket", [False, True])
def test_one_picture_of_a_batch_alone(client: HostClient, by_socket: bool) -> None:
    """Latent From Batch says which; a plain sampler does not pass that on, and still draws the right one."""
    whole = drawn(client, batch=6)
    graph = Drawing()
    one = graph.add("LatentFromBatch", samples=graph.empty(6), batch_index=4, length=1)
    node = noise_node(graph)
    samples = custom_sample(graph, node[0], one) if by_socket else graph.sample(node[1], latent=one)
    assert torch.allclose(_run(client, graph, samples), whole[4:5], atol=1e-3)


@pytest.mark.parametrize("place", [255, 256, 1000])
def test_far_into_a_large_batch(client: HostClient, place: int) -> None:
    """The host's own noise tells the place, however far the host had to go for it."""
    graph = Drawing()
    one = graph.add("LatentFromBatch", samples=graph.empty(1001), batch_index=place, length=1)
    node = noise_node(graph, mode="independent", part_size=1001)
    saved = [graph.latents(graph.sample(node[1], latent=one)), graph.latents(custom_sample(graph, node[0], one))]
    run = client.run(graph.prompt)
    patched, socket = (latents_of(client, run, latents) for latents in saved)
    assert torch.equal(patched, socket)


def test_noise_that_is_not_the_hosts_own_is_told(client: HostClient) -> None:
    graph = Drawing()
    node = noise_node(graph)
    foreign = noise_node(graph, set_seed=99)
    saved = graph.latents(custom_sample(graph, foreign[0], graph.empty(2), model=node[1]))
    heard = listen(client, graph.prompt)
    assert "not ComfyUI's own for its seed" in "\n".join(text for shown, text in heard.texts if shown == node.id)
    assert torch.allclose(latents_of(client, heard.run, saved), drawn(client, batch=2), atol=1e-3)


def test_the_next_part_goes_on(client: HostClient) -> None:
    whole = drawn(client, batch=4)
    assert torch.allclose(drawn(client, batch=2, part=1), whole[2:], atol=1e-3)
    assert torch.allclose(drawn(client, batch=1, part=3), whole[3:], atol=1e-3)


def test_some_of_a_later_part_need_its_size(client: HostClient) -> None:
    def some(**settings: Any) -> Tensor:
        graph = Drawing()
        one = graph.add("LatentFromBatch", samples=graph.empty(2), batch_index=1, length=1)
        return _run(client, graph, graph.sample(noise_node(graph, part=1, **settings)[1], latent=one))

    with pytest.raises(RunFailed, match="set part_size to the number of images in a batch"):
        some()
    assert torch.allclose(some(part_size=2), drawn(client, batch=4)[3:], atol=1e-3)


def test_a_sampler_that_adds_no_noise_gets_none(client: HostClient) -> None:
    graph = Drawing()
    half = graph.half_sample(graph.demo[0])

    def rest(model: Any) -> Node:
        return graph.latents(
            graph.add(
                "KSamplerAdvanced",
                model=model,
                add_noise="disable",
                noise_seed=1,
                steps=6,
                cfg=5.0,
                sampler_name="euler",
                scheduler="simple",
                positive=graph.encode("woman running"),
                negative=graph.encode(""),
                latent_image=half,
                start_at_step=3,
                end_at_step=6,
                return_with_leftover_noise="disable",
            )
        )

    plain, patched = rest(graph.demo[0]), rest(noise_node(graph)[1])
    run = client.run(graph.prompt)
    assert torch.equal(latents_of(client, run, plain), latents_of(client, run, patched))


def test_the_last_noise_node_counts_and_repellency_goes_along(client: HostClient) -> None:
    graph = Drawing()
    twice = noise_node(graph, noise_node(graph, set_seed=8)[1])
    once = noise_node(graph)
    both = [graph.latents(graph.sample(node[1])) for node in (twice, once)]
    repelled = graph.latents(graph.sample(graph.repel(once[1], radius=0.0, absolute_radius=30.0)))
    run = client.run(graph.prompt)
    assert torch.equal(*(latents_of(client, run, node) for node in both))
    assert not torch.equal(latents_of(client, run, repelled), latents_of(client, run, both[1]))


def test_videos(client: HostClient) -> None:
    graph = Drawing()
    tiny = graph.add("TestTinyModel", kind="wan")
    node = noise_node(graph, tiny[0])
    latent = graph.add("EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=3)
    settings = {**SAMPLER, "positive": tiny[1], "negative": tiny[2], "latent_image": latent}
    saved = graph.latents(graph.add("KSampler", model=node[1], **settings))
    plain = graph.latents(graph.add("KSampler", model=tiny[0], **settings))
    run = client.run(graph.prompt)
    videos = latents_of(client, run, saved)
    assert videos.ndim == 5 and torch.isfinite(videos).all()
    assert not torch.equal(videos, latents_of(client, run, plain))


def test_packed_latents_keep_their_noise(client: HostClient) -> None:
    graph = Drawing()
    packed = graph.add("TestPackedRun", model=noise_node(graph)[1])
    assert torch.equal(_run(client, graph, packed), torch.ones(1, 1, 96))


def test_pictures_to_avoid_change_quantised_noise(client: HostClient) -> None:
    graph = Drawing()
    before = graph.sample(batch=4)
    away = graph.latents(graph.sample(noise_node(graph, avoid=before)[1], batch=4))
    assert not torch.equal(latents_of(client, client.run(graph.prompt), away), drawn(client))


def test_a_bank_stands_for_the_noise_of_its_pictures(client: HostClient) -> None:
    """A bank keeps no noises: its pictures say where they lay. An empty one, or one of one picture, says nothing."""
    found = []
    for name, count in (("no images", 0), ("one image", 1), ("some images", 4)):
        if count:
            graph = Drawing()
            graph.add("DiversityRemember", samples=graph.sample(batch=count), model=graph.demo, name=name)
            client.run(graph.prompt)
        graph = Drawing()
        bank = graph.add("DiversityMemoryBank", name=name, revision=-1)
        saved = graph.latents(graph.sample(noise_node(graph, bank=bank)[1], batch=4))
        found.append(latents_of(client, client.run(graph.prompt), saved))
    assert torch.equal(found[0], drawn(client))
    assert torch.equal(found[1], found[0])
    assert not torch.equal(found[2], found[0])


@pytest.mark.parametrize(
    ("settings", "empty", "sentence"),
    [
        ({"mode": "simplex"}, "EmptySD3LatentImage", "Only quantised noise keeps away"),
        ({}, "EmptyLatentImage", "another model.*Encode them with this model's VAE"),
    ],
)
def test_pictures_to_avoid_that_do_not_fit(
    client: HostClient, settings: dict[str, Any], empty: str, sentence: str
) -> None:
    graph = Drawing()
    avoid = graph.add(empty, width=64, height=64, batch_size=2)
    graph.latents(graph.sample(noise_node(graph, avoid=avoid, **settings)[1]))
    with pytest.raises(RunFailed, match=sentence):
        client.run(graph.prompt)


def test_a_model_that_was_never_wired(client: HostClient) -> None:
    """The host tells its user why, and draws nothing that depends on it."""
    graph = Drawing()
    saved = graph.latents(graph.sample(noise_node(graph, False)[1]))
    assert saved.id not in client.run(graph.prompt).outputs


@pytest.mark.parametrize(("name", "value"), [("set_size", 0), ("set_size", 257), ("mode", "pink"), ("part", -1)])
def test_numbers_out_of_range(client: HostClient, name: str, value: Any) -> None:
    graph = Drawing()
    graph.latents(graph.sample(noise_node(graph, **{name: value})[1]))
    with pytest.raises((PromptRefused, RunFailed), match=name):
        client.run(graph.prompt)


def test_picking_latents_and_drawing_them_again(client: HostClient) -> None:
    graph = Drawing()
    node = noise_node(graph)
    samples = graph.sample(node[1], batch=6)
    pick = graph.add("DiversityPick", count=2, samples=samples)
    every, chosen = graph.latents(samples), graph.latents(pick[0])
    told = graph.add("PreviewAny", source=pick[2])
    again = graph.latents(graph.sample(node[1], latent=pick[0]))
    run = client.run(graph.prompt)
    places = [int(place) for place in run.outputs[told.id]["text"][0].split(", ")]
    assert len(places) == 2 and places == sorted(places)
    assert torch.equal(latents_of(client, run, chosen), latents_of(client, run, every)[places])
    assert latents_of(client, run, again).shape == (2, *SHAPE)


def test_picking_pictures_takes_one_of_each_kind(client: HostClient) -> None:
    graph = Drawing()
    kinds = [graph.add("EmptyImage", width=32, height=32, batch_size=3, color=colour) for colour in (0xFF0000, 0xFF)]
    both = graph.add("ImageBatch", image1=kinds[0], image2=kinds[1])
    pick = graph.add("DiversityPick", count=2, images=both)
    saved = graph.add("SaveImage", images=pick[1], filename_prefix="test")
    pictures = pictures_of(client, client.run(graph.prompt), saved)
    assert sorted(tuple(picture[0, 0].tolist()) for picture in pictures) == [(0, 0, 255), (255, 0, 0)]


@pytest.mark.parametrize(
    ("count", "sockets", "sentence"),
    [
        (5, ("samples",), "Of 2 members 5 cannot be chosen: choose from 1 to 2"),
        (1, (), "There is nothing to pick from"),
        (1, ("samples", "images"), "There are 3 images for 2 latents"),
    ],
)
def test_picking_what_cannot_be_picked(client: HostClient, count: int, sockets: tuple[str, ...], sentence: str) -> None:
    graph = Drawing()
    wired = {
        "samples": graph.sample(batch=2),
        "images": graph.add("EmptyImage", width=32, height=32, batch_size=3, color=0),
    }
    pick = graph.add("DiversityPick", count=count, **{name: wired[name] for name in sockets})
    graph.add("PreviewAny", source=pick[2])
    with pytest.raises(RunFailed, match=sentence):
        client.run(graph.prompt)
