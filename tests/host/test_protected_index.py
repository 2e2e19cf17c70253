"""Protected Indexes in a real server: built from a folder, picked by name, kept away from; cancelled and refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diversity_guidance.embedded.latent_space import LATENT_FORMAT, autoencoder_fingerprint
from diversity_guidance.embedded.reals import RealImages
from diversity_guidance.embedded.transformer import to_model_space
from diversity_guidance.stores.protected.checksummed_json import read_checksummed, write_checksummed
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.spaces import latent_space
from PIL import Image
from support.graphs import SAMPLER, Drawing, Graph, Node, latents_of, repelled
from support.host_client import HostClient, PromptRefused, RunFailed
from support.host_listener import listen
from support.host_server import HostServer
from support.indexes import built

RADIUS = 30.0
"""Decoding and encoding what three steps drew moves its latents by 20 to 23."""


def put_pictures(server: HostServer, name: str, count: int) -> Path:
    """A folder of real pictures, a copy and a broken file in the server's input directory."""
    folder = server.base / "input" / name
    (folder / "more").mkdir(parents=True)
    reals = RealImages.load()
    for row in range(count):
        picture = Image.fromarray(reals.pixels[row * 37 % len(reals.pixels)].movedim(0, -1).numpy())
        picture.save(folder / ("more" if row % 2 else ".") / f"{row}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "broken.png").write_bytes(b"not an image")
    return folder


class Building(Drawing):
    """A graph that builds an index of 64 x 64 pixels."""

    def build(self, name: str, **inputs: Any) -> Node:
        given = {"vae": self.demo[2], "model": self.demo[0], "folder": "", "width": 64, "height": 64, "batch": 4}
        return self.add("DiversityBuildProtectedIndex", name=name, **{**given, **inputs})

    def keep_away(self, protected: Any, **settings: Any) -> Node:
        defaults = {"radius": 0.0, "absolute_radius": RADIUS, "in_batch": False, "ensure_outside": True}
        return self.repel(protected=protected, **{**defaults, **settings})


def opened(server: HostServer, name: str) -> ProtectedIndex:
    return ProtectedIndex.open(server.base / "models" / "diversity_indexes" / name)


def texts_of(client: HostClient, graph: Graph, node: Node) -> str:
    return "\n".join(text for shown, text in listen(client, graph.prompt).texts if shown == node.id)


def drawn_pictures_protected(client: HostClient, name: str, batch: int = 2) -> None:
    """An index of what the model draws for the tests' prompt and seed."""
    graph = Building()
    images = graph.add("VAEDecode", samples=graph.sample(batch=batch), vae=graph.demo[2])
    graph.build(name, images=images)
    client.run(graph.prompt)


def test_from_a_folder(server: HostServer, client: HostClient) -> None:
    put_pictures(server, "a folder", 10)
    graph = Building()
    node = graph.build("of a folder", folder="a folder")
    shown = graph.add("PreviewAny", source=node[1])
    told = texts_of(client, graph, node)
    assert "10 images were added, 1 were known: 10 are protected. 1 could not be read." in told
    assert "broken.png: cannot identify" in told
    index = opened(server, "of a folder")
    # The host's VAE and the command line's autoencoder are the same.
    space = latent_space(LATENT_FORMAT, autoencoder_fingerprint())
    assert (len(index), index.space, index.shape) == (10, space, (16, 8, 8))
    assert {index.name(row) for row in range(10)} >= {"0.png", "more/1.png"}
    # A new picture is added, and the others stay as they are.
    before = index.sample(10)
    Image.new("RGB", (100, 50), "red").save(server.base / "input/a folder/red.png")
    run = client.run(graph.prompt)
    assert run.outputs[shown.id]["text"] == ["11"]
    assert torch.equal(opened(server, "of a folder").sample(11)[:10], before)
    assert {node.id, shown.id} <= client.run(graph.prompt).cached


def test_build_pick_and_draw(server: HostServer, client: HostClient) -> None:
    """What was drawn once is protected, and the same seed draws something else, outside of every shield."""
    name = "drawn before"
    drawn_pictures_protected(client, name)
    graph = Building()
    picked = graph.add("DiversityProtectedIndex", name=name)
    guarded = graph.keep_away(picked)
    saved = graph.latents(graph.sample(guarded)), graph.latents(graph.sample())
    heard = listen(client, graph.prompt)
    kept_away, plain = (to_model_space(latents_of(client, heard.run, node)).double().flatten(1) for node in saved)
    protected = to_model_space(opened(server, name).sample(2)).double().flatten(1)
    assert float(torch.cdist(plain, protected).min()) < RADIUS
    assert float(torch.cdist(kept_away, protected).min()) >= RADIUS * (1 - 1e-6)
    told = "\n".join(text for node, text in heard.texts if node == guarded.id)
    assert "2 images are protected, radius 30" in told
    assert "Every image is outside every shield" in told and "from images:" in told
    (shown,) = (text for node, text in heard.texts if node == picked.id)
    assert shown.startswith("2 images are protected: SD3Emoji latents of the VAE ")
    assert "connect the model's VAE" in shown


def test_the_report_tells_it_too(client: HostClient) -> None:
    drawn_pictures_protected(client, "for the report")
    graph = Building()
    guarded = graph.keep_away(graph.add("DiversityProtectedIndex", name="for the report"), ensure_outside=False)
    samples = graph.sample(guarded)
    shown = graph.add("TestTrace", samples=samples, trace=guarded[1], model=graph.demo)
    told = client.run(graph.prompt).outputs[shown.id]["text"][0]
    assert "Nothing guarantees this: ensure_outside is off." in told


@pytest.mark.parametrize("off", [{"strength": 0.0}, {"absolute_radius": 0.0}])
def test_off_is_bit_identical_and_says_so(client: HostClient, off: dict[str, float]) -> None:
    drawn_pictures_protected(client, "switched off")
    graph = Building()
    guarded = graph.keep_away(graph.add("DiversityProtectedIndex", name="switched off"), **off)
    saved = graph.latents(graph.sample(guarded)), graph.latents(graph.sample())
    heard = listen(client, graph.prompt)
    assert torch.equal(*(latents_of(client, heard.run, node) for node in saved))
    assert (guarded.id, "Did nothing: strength or radius is 0, nothing is protected") in heard.texts


def test_far_away_is_bit_identical(server: HostServer, client: HostClient) -> None:
    put_pictures(server, "far away", 4)
    graph = Building()
    guarded = graph.keep_away(graph.build("far away", folder="far away"), absolute_radius=0.01)
    saved = graph.latents(graph.sample(guarded)), graph.latents(graph.sample())
    run = client.run(graph.prompt)
    assert torch.equal(*(latents_of(client, run, node) for node in saved))


def test_what_depends_on_it_runs_again_exactly_when_it_has_changed(client: HostClient) -> None:
    name = "changing"
    drawn_pictures_protected(client, name)
    graph = Building()
    picked = graph.add("DiversityProtectedIndex", name=name)
    samples = graph.sample(graph.keep_away(picked))
    graph.latents(samples)
    client.run(graph.prompt)
    assert {picked.id, samples.id} <= client.run(graph.prompt).cached
    drawn_pictures_protected(client, name, batch=3)
    assert not {picked.id, samples.id} & client.run(graph.prompt).cached
    assert {picked.id, samples.id} <= client.run(graph.prompt).cached


def test_cancel_keeps_what_was_encoded(server: HostServer, client: HostClient) -> None:
    put_pictures(server, "many", 24)
    graph = Building()
    node = graph.build("cancelled", folder="many", batch=1)
    assert listen(client, graph.prompt, interrupt_at=node.id).run.status == "interrupted"
    with pytest.raises(ValueError, match="There is no protected index"):
        opened(server, "cancelled")
    staged = list((server.base / "models/diversity_indexes/cancelled").glob("building-1/*.safetensors"))
    assert staged, "what was encoded is kept"
    told = texts_of(client, graph, node)
    assert "24 images were added, 1 were known: 24 are protected." in told
    straight = Building()
    straight.build("not cancelled", folder="many", batch=1)
    client.run(straight.prompt)
    assert opened(server, "cancelled").fingerprint() == opened(server, "not cancelled").fingerprint()


def test_inpainting_compares_everything_and_says_so(server: HostServer, client: HostClient) -> None:
    drawn_pictures_protected(client, "for inpainting")
    graph = Building()
    guarded = graph.keep_away(graph.add("DiversityProtectedIndex", name="for inpainting"), absolute_radius=18.0)
    samples = graph.sample(guarded, latent=graph.masked()[0])
    shown = graph.add("TestTrace", samples=samples, trace=guarded[1], model=graph.demo)
    saved = graph.latents(samples)
    run = client.run(graph.prompt)
    told = run.outputs[shown.id]["text"][0]
    assert "which is exact but slow, because an inpainting mask holds part of the image." in told
    assert "Every image is outside every shield" in told
    kept_away = to_model_space(latents_of(client, run, saved))[..., :4].flatten(1).double()
    protected = to_model_space(opened(server, "for inpainting").sample(2))[..., :4].flatten(1).double()
    assert float(torch.cdist(kept_away, protected).min()) >= 18 * (1 - 1e-6)


def test_a_video_model_whose_channels_are_scaled_unlike(server: HostServer, client: HostClient) -> None:
    def drawn(graph: Graph, **protected: Node) -> tuple[Node, Node, Node]:
        source = graph.add("TestTinyModel", kind="wan")
        settings: dict[str, Any] = {"radius": 0.0, "absolute_radius": 20.0, "in_batch": False, "ensure_outside": True}
        model = repelled(graph, source, **settings, **protected)
        latent = graph.add("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=1)
        samples = graph.add(
            "KSampler", model=model, positive=source[1], negative=source[2], latent_image=latent, **SAMPLER
        )
        return source, model, samples

    plain = Graph()
    saved = plain.latents(drawn(plain)[2])
    made = latents_of(client, client.run(plain.prompt), saved)
    built(server.base / "models/diversity_indexes/videos", made, latent_space("Wan21"), ["clip.mp4"])
    graph = Graph()
    source, model, samples = drawn(graph, protected=graph.add("DiversityProtectedIndex", name="videos"))
    shown = graph.add("TestTrace", samples=samples, trace=model[1], model=source)
    saved = graph.latents(samples)
    run = client.run(graph.prompt)
    told = run.outputs[shown.id]["text"][0]
    assert "came nearest" in told and "from clip.mp4" in told
    assert "Every image is outside every shield" in told and "exact but slow" not in told
    # Every channel of this format is divided by 1.12 or more.
    assert float(torch.dist(latents_of(client, run, saved), made)) >= 20 * 1.12


def test_another_picture_size_is_refused(client: HostClient) -> None:
    drawn_pictures_protected(client, "another size")
    graph = Building()
    latent = graph.add("EmptySD3LatentImage", width=96, height=64, batch_size=1)
    guarded = graph.keep_away(graph.add("DiversityProtectedIndex", name="another size"))
    graph.latents(graph.sample(guarded, latent=latent))
    with pytest.raises(
        RunFailed, match=r"holds latents of 16 x 8 x 8 and this run samples 16 x 8 x 12: nothing would be"
    ):
        client.run(graph.prompt)


def test_another_model_is_refused(client: HostClient) -> None:
    drawn_pictures_protected(client, "of the demo")
    graph = Graph()
    other = graph.add("TestTinyModel", kind="unet")
    index = graph.add("DiversityProtectedIndex", name="of the demo")
    guarded = repelled(graph, other, protected=index)
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph.latents(
        graph.add("KSampler", model=guarded, positive=other[1], negative=other[2], latent_image=latent, **SAMPLER)
    )
    with pytest.raises(RunFailed, match=r"of the demo holds SD3Emoji latents .* and this model makes SD15 latents"):
        client.run(graph.prompt)


def test_a_vae_of_another_model_is_refused(client: HostClient) -> None:
    graph = Building()
    other = graph.add("TestTinyModel", kind="unet")
    images = graph.add("EmptyImage", width=64, height=64, batch_size=1, color=0)
    graph.build("mixed up", model=other[0], images=images)
    with pytest.raises(RunFailed, match=r"makes latents of 16 channels and this model's have 4"):
        client.run(graph.prompt)


@pytest.mark.parametrize("folder", ["../output", "/etc", "..", ".", "a/../../x"])
def test_a_folder_outside_of_the_input_directory(client: HostClient, folder: str) -> None:
    graph = Building()
    graph.build("never made", folder=folder)
    with pytest.raises(PromptRefused, match="is not a folder below the input directory"):
        client.run(graph.prompt)


@pytest.mark.parametrize("name", ["../secrets", "a/b", "..", "nul"])
@pytest.mark.parametrize("kind", ["DiversityProtectedIndex", "DiversityBuildProtectedIndex"])
def test_a_name_that_is_a_path(client: HostClient, kind: str, name: str) -> None:
    graph = Building()
    node = graph.build(name) if kind == "DiversityBuildProtectedIndex" else graph.add(kind, name=name)
    graph.add("PreviewAny", source=node[1])
    with pytest.raises(PromptRefused, match="protected index's name"):
        client.run(graph.prompt)


def test_nothing_to_protect_and_no_such_index(client: HostClient) -> None:
    graph = Building()
    graph.build("nothing")
    with pytest.raises(RunFailed, match="There is nothing to protect"):
        client.run(graph.prompt)
    graph = Graph()
    graph.add("PreviewAny", source=graph.add("DiversityProtectedIndex", name="never built")[1])
    with pytest.raises(RunFailed, match=r'There is no protected index "never built" .* Build it with'):
        client.run(graph.prompt)


def test_a_folder_along_a_wire_is_checked_too(server: HostServer, client: HostClient) -> None:
    (server.base / "input").mkdir(exist_ok=True)
    (server.base / "input" / "a way out").symlink_to(server.base / "output", target_is_directory=True)
    for folder in ("../output", "a way out"):
        graph = Building()
        graph.build("never made", folder=graph.add("PrimitiveString", value=folder))
        with pytest.raises(RunFailed, match="is not a folder below the input directory"):
            client.run(graph.prompt)
    assert not (server.base / "models/diversity_indexes/never made").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize("damage", ["changed", "newer"])
def test_a_damaged_or_newer_index_is_refused_and_stays_as_it_was(
    server: HostServer, client: HostClient, damage: str
) -> None:
    drawn_pictures_protected(client, damage)
    folder = server.base / "models/diversity_indexes" / damage
    manifest = folder / "manifest.json"
    if damage == "newer":
        write_checksummed(manifest, {**read_checksummed(manifest), "version": 99})
    else:
        data = bytearray(manifest.read_bytes())
        data[len(data) // 2] ^= 1
        manifest.write_bytes(data)
    before = contents(folder)
    opening, adding = Graph(), Building()
    opening.add("PreviewAny", source=opening.add("DiversityProtectedIndex", name=damage)[1])
    adding.build(damage, images=adding.add("EmptyImage", width=64, height=64, batch_size=1, color=0))
    for graph in (opening, adding):
        sentence = r"newer version .*: update the pack" if damage == "newer" else "nothing is protected by a damaged"
        with pytest.raises(RunFailed, match=sentence):
            client.run(graph.prompt)
    assert contents(folder) == before


def test_a_damaged_shard_is_named_while_pictures_are_drawn(server: HostServer, client: HostClient) -> None:
    """Never passed over: no picture is drawn that might be a protected one."""
    drawn_pictures_protected(client, "damaged shard")
    (rows,) = (server.base / "models/diversity_indexes/damaged shard/shards").glob("*.f16")
    data = bytearray(rows.read_bytes())
    data[100] ^= 1
    rows.write_bytes(data)
    graph = Building()
    graph.latents(graph.sample(graph.keep_away(graph.add("DiversityProtectedIndex", name="damaged shard"))))
    with pytest.raises(RunFailed, match=rf"{rows.name} does not hold what was written in row 0"):
        client.run(graph.prompt)


def test_an_index_that_cannot_be_written(server: HostServer, client: HostClient) -> None:
    folder = server.base / "models/diversity_indexes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in the way").write_text("a file where a folder should be")
    graph = Building()
    images = graph.add("EmptyImage", width=64, height=64, batch_size=1, color=0)
    graph.build("in the way", images=images)
    with pytest.raises(RunFailed, match=r"in the way could not be written \(.*The index stays as it was"):
        client.run(graph.prompt)


def test_it_is_there_in_other_hosts(other_server: HostServer) -> None:
    client = other_server.client
    drawn_pictures_protected(client, "newer")
    graph = Building()
    guarded = graph.keep_away(graph.add("DiversityProtectedIndex", name="newer"))
    saved = graph.latents(graph.sample(guarded))
    run = client.run(graph.prompt)
    protected = to_model_space(opened(other_server, "newer").sample(2)).double().flatten(1)
    kept_away = to_model_space(latents_of(client, run, saved)).double().flatten(1)
    assert float(torch.cdist(kept_away, protected).min()) >= RADIUS * (1 - 1e-6)
    assert math.isfinite(float(kept_away.sum()))


def test_an_index_of_another_vae_is_refused_and_an_unchecked_one_told(client: HostClient, server: HostServer) -> None:
    folder = server.base / "models/diversity_indexes"
    for name, encoder in (("of another vae", "0" * 16), ("of no known vae", "")):
        built(folder / name, torch.zeros(1, 16, 8, 8), latent_space("SD3Emoji", encoder), ["one.png"])
    graph = Drawing()
    graph.add("PreviewAny", source=graph.add("DiversityProtectedIndex", name="of another vae", vae=graph.demo[2])[1])
    with pytest.raises(RunFailed, match=r"made by another VAE .*would protect nothing"):
        client.run(graph.prompt)
    for name, why in (("of another vae", "connect the model's VAE"), ("of no known vae", "does not say which one")):
        graph = Drawing()
        index = graph.add("DiversityProtectedIndex", name=name)
        graph.add("PreviewAny", source=index[1])
        texts = [text for node, text in listen(client, graph.prompt).texts if node == index.id]
        assert len(texts) == 1 and why in texts[0]
