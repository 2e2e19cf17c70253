"""Vendi Guidance and Exemplar Sets in a real ComfyUI."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from support.graphs import Graph, Node, latents_of
from support.host_client import HostClient, PromptRefused, RunFailed
from support.host_server import HostServer
from support.open_clip_files import write_open_clip
from support.spreading import Spreading, drawn, spread_out, visibly_moved
from support.transformers_files import write_transformers
from torch import Tensor


@pytest.fixture(scope="module")
def plain(server: HostServer) -> dict[int, Tensor]:
    return {batch: drawn(server.client, lambda graph: None, batch) for batch in (1, 2)}


@pytest.mark.parametrize(
    ("batch", "patch"),
    [
        (2, lambda graph: graph.vendi(strength=0.0)),
        (2, lambda graph: graph.vendi(in_batch=False)),
        (1, lambda graph: graph.vendi(bank=graph.add("DiversityMemoryBank", name="never made", revision=-1))),
        (2, lambda graph: graph.vendi(start_percent=1.0, end_percent=1.0)),
        (
            1,
            lambda graph: graph.vendi(bank=graph.remembered(prompt=_text(graph, "cat"))[1], prompt=_text(graph, "dog")),
        ),
    ],
)
def test_nothing_to_do_is_bit_identical(
    client: HostClient, plain: dict[int, Tensor], batch: int, patch: Callable[[Spreading], Node]
) -> None:
    assert torch.equal(drawn(client, patch, batch), plain[batch])


def _text(graph: Graph, text: str) -> Node:
    return graph.add("PrimitiveString", value=text)


@pytest.mark.parametrize("features", ["latents", "preview", "random network", "colour layout", "clip vision"])
def test_every_feature_space_steers_a_batch(client: HostClient, plain: dict[int, Tensor], features: str) -> None:
    """All but the first need gradients of networks that were loaded in inference mode."""

    def patch(graph: Spreading) -> Node:
        return graph.vendi(features=features, vae=graph.demo[2], clip_vision=graph.add("TestTinyClipVision"))

    assert visibly_moved(plain[2], drawn(client, patch))


def test_clip_vision_behind_the_linear_preview(client: HostClient, plain: dict[int, Tensor]) -> None:
    moved = drawn(
        client, lambda graph: graph.vendi(features="clip vision", clip_vision=graph.add("TestTinyClipVision"))
    )
    assert visibly_moved(plain[2], moved)


@pytest.mark.parametrize("decoder", ["vae", "linear preview"])
def test_an_open_clip_model_in_the_hosts_folders_steers(
    server: HostServer, plain: dict[int, Tensor], decoder: str
) -> None:
    write_open_clip(server.base / "models" / "clip_vision" / "tiny")

    def patch(graph: Spreading) -> Node:
        return graph.vendi(features="open clip: tiny", **({"vae": graph.demo[2]} if decoder == "vae" else {}))

    assert visibly_moved(plain[2], drawn(server.client, patch))


def test_open_clip_features_are_remembered(server: HostServer) -> None:
    write_open_clip(server.base / "models" / "clip_vision" / "tiny")
    graph = Spreading()
    bank = graph.remembered(features="open clip: tiny")[1]
    steered = graph.vendi(features="open clip: tiny", vae=graph.demo[2], bank=bank)
    shown = graph.trace_of(steered, graph.sample(steered, batch=1))
    told = server.client.run(graph.prompt).outputs[shown.id]["text"][0]
    assert "Moved 1 of 1" in told
    assert "decoded first" not in told


@pytest.mark.parametrize("place", ["clip_vision/tiny dino", "diffusers/some model/image_encoder"])
def test_features_of_transformers_are_remembered_and_have_gradients(server: HostServer, place: str) -> None:
    write_transformers(server.base / "models" / place, "dinov2" if "dino" in place else "clip_vision_model")
    features = f"transformers: {place.partition('/')[2]}"
    graph = Spreading()
    bank = graph.remembered(features=features)[1]
    steered = graph.vendi(features=features, vae=graph.demo[2], bank=bank)
    shown = graph.trace_of(steered, graph.sample(steered, batch=1))
    told = server.client.run(graph.prompt).outputs[shown.id]["text"][0]
    assert "Moved 1 of 1" in told
    assert "decoded first" not in told


def test_other_hosts_have_gradients_too(other_server: HostServer) -> None:
    before = drawn(other_server.client, lambda graph: None)
    after = drawn(other_server.client, lambda graph: graph.vendi(features="random network", vae=graph.demo[2]))
    assert visibly_moved(before, after)


@pytest.mark.parametrize(
    "sampler",
    [
        {"cfg": 1.0},
        {"sampler_name": "heun"},
        {"sampler_name": "dpmpp_2m_sde"},
        {"sampler_name": "heunpp2"},
        {"sampler_name": "lcm", "cfg": 1.0},
    ],
)
def test_samplers_and_scales(client: HostClient, sampler: dict[str, Any]) -> None:
    before, after = (drawn(client, patch, **sampler) for patch in (lambda graph: None, lambda graph: graph.vendi()))
    assert visibly_moved(before, after)


def test_it_works_before_and_after_sparse_repellency(client: HostClient, plain: dict[int, Tensor]) -> None:
    graph = Spreading()
    first, second = graph.vendi(graph.repel()), graph.repel(graph.vendi())
    saved = [graph.latents(graph.sample(model)) for model in (first, second)]
    run = client.run(graph.prompt)
    results = [latents_of(client, run, node) for node in saved]
    assert not torch.equal(*results)
    assert all(visibly_moved(plain[2], result) for result in results)


def test_masked_pictures_change_inside_the_mask_alone(client: HostClient) -> None:
    graph = Spreading()
    before = graph.masked()
    samples = graph.sample(graph.vendi(strength=5.0), latent=before, seed=2)
    saved = [graph.latents(before), graph.latents(samples)]
    run = client.run(graph.prompt)
    old, new = (latents_of(client, run, node) for node in saved)
    assert torch.allclose(new[..., 5:], old[..., 5:], atol=1e-5)
    assert not torch.allclose(new[..., :3], old[..., :3], atol=0.1)


@pytest.mark.parametrize(("kind", "latent"), [("wan", "EmptyHunyuanLatentVideo"), ("unet", "EmptyLatentImage")])
def test_videos_and_models_that_predict_noise(client: HostClient, kind: str, latent: str) -> None:
    graph = Graph()
    model = graph.add("TestTinyModel", kind=kind)
    sizes = {"width": 64, "height": 64, "batch_size": 2} | ({"length": 5} if kind == "wan" else {})
    empty = graph.add(latent, **sizes)
    saved = []
    for patched in (model, spread_out(graph, model)):
        samples = graph.add(
            "KSampler",
            model=patched,
            positive=model[1],
            negative=model[2],
            latent_image=empty,
            seed=1,
            steps=2,
            cfg=3.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        )
        saved.append(graph.latents(samples))
    run = client.run(graph.prompt)
    before, after = (latents_of(client, run, node) for node in saved)
    assert after.shape == before.shape
    assert after.isfinite().all()
    assert not torch.equal(before, after)


def test_exemplars_draw_a_picture_towards_them(server: HostServer, client: HostClient) -> None:
    folder = server.base / "input" / "greens"
    folder.mkdir(exist_ok=True)
    for shade in (120, 160, 200):
        Image.new("RGB", (64, 64), (20, shade, 20)).save(folder / f"{shade}.png")

    def green(graph: Spreading, exemplars: Node | None) -> Node:
        settings = {"features": "colour layout", "vae": graph.demo[2], "alpha": 0.0, "strength": 5.0}
        model = graph.vendi(**settings, exemplars=exemplars) if exemplars else graph.demo[0]
        return graph.decoded(graph.sample(model, batch=1))

    graph = Spreading()
    exemplars = graph.add("DiversityExemplarSet", folder="greens")
    nodes = [graph.add("SaveImage", images=green(graph, each), filename_prefix="x") for each in (None, exemplars)]
    run = client.run(graph.prompt)
    before, after = (client.picture(run.outputs[node.id]["images"][0]).astype(float) for node in nodes)

    def greenness(picture: Any) -> float:
        return float((picture[..., 1] - (picture[..., 0] + picture[..., 2]) / 2).mean())

    assert greenness(after) > greenness(before) + 5


def test_conditionings_tell_which_remembered_pictures_count(client: HostClient) -> None:
    """The embedded model's encoder is a bag of words; what they mean is the same in another order."""
    corrections = []
    for told, asked in (("woman running", "running woman"), ("woman running", "cat"), (None, "running woman")):
        graph = Spreading()
        remembered = {} if told is None else {"conditioning": graph.encode(told)}
        bank = graph.remembered(**remembered)[1]
        steered = graph.vendi(bank=bank, conditioning=graph.encode(asked))
        shown = graph.trace_of(steered, graph.sample(steered, batch=1, seed=5))
        corrections.append(client.run(graph.prompt).outputs[shown.id]["text"][0])
    assert "Moved 1 of 1" in corrections[0]
    assert _moved_by(corrections[0]) > 3 * _moved_by(corrections[1])
    assert "without such a conditioning and left out" in corrections[2]


def _moved_by(summary: str) -> float:
    return float(re.search(r"by ([\d.]+)% of the estimate", summary)[1])  # type: ignore[index]


def test_remembered_features_need_no_decoding(client: HostClient) -> None:
    notes = []
    for features in ("random network", "none"):
        graph = Spreading()
        bank = graph.remembered(features=features)[1]
        steered = graph.vendi(features="random network", vae=graph.demo[2], bank=bank)
        shown = graph.trace_of(steered, graph.sample(steered, batch=1))
        notes.append(client.run(graph.prompt).outputs[shown.id]["text"][0])
    assert "decoded first" not in notes[0]
    assert "2 images of the bank were without features and decoded first" in notes[1]
    assert all("Moved 1 of 1" in note for note in notes)


def test_the_papers_preset(client: HostClient, plain: dict[int, Tensor]) -> None:
    graph = Spreading()
    steered = graph.vendi(preset="paper", bank=graph.remembered()[1], features="random network", vae=graph.demo[2])
    samples = graph.sample(steered, batch=1, steps=6)
    shown = graph.trace_of(steered, samples)
    # Every fifth of six steps.
    assert "in 2 of 2 active steps" in client.run(graph.prompt).outputs[shown.id]["text"][0]


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda graph: graph.vendi(features="random network"), "Connect vae"),
        (lambda graph: graph.vendi(features="clip vision"), "Connect clip_vision"),
        (lambda graph: graph.vendi(features="open clip: gone"), "'open clip: gone' not in"),
        (lambda graph: graph.vendi(features="open clip: ../../gone"), "'open clip: ../../gone' not in"),
        (lambda graph: graph.vendi(alpha=0.0, beta=0.0), "alpha and beta both 0"),
        (lambda graph: graph.vendi(exemplars=graph.add("DiversityExemplarSet", folder="")), "needs images"),
        (lambda graph: graph.vendi(exemplars=graph.add("DiversityExemplarSet", folder="nowhere")), "no folder"),
        (lambda graph: graph.vendi(exemplars=graph.add("DiversityExemplarSet", folder="../..")), "not a folder below"),
        (
            lambda graph: graph.vendi(
                exemplars=graph.add("DiversityExemplarSet", folder="", images=graph.decoded(graph.sample()))
            ),
            "connect the model's VAE",
        ),
        (
            lambda graph: graph.vendi(graph.add("TestTinyModel", kind="unet")[0], bank=graph.remembered()[1]),
            "holds SD3Emoji latents",
        ),
        (
            lambda graph: graph.vendi(
                graph.add("TestTinyModel", kind="unet")[0], features="random network", vae=graph.demo[2]
            ),
            "decodes latents of 16 channels",
        ),
        (
            lambda graph: graph.add(
                "DiversityRemember", samples=graph.sample(), model=graph.demo[0], name="", features="colour layout"
            ),
            "Connect the decoded images",
        ),
    ],
)
def test_bad_input_is_a_sentence(client: HostClient, build: Callable[[Spreading], Node], sentence: str) -> None:
    graph = Spreading()
    made = build(graph)
    graph.latents(graph.sample(made if graph.prompt[made.id]["class_type"] == "DiversityVendiGuidance" else None))
    with pytest.raises((PromptRefused, RunFailed), match=sentence):
        client.run(graph.prompt)
