"""Latents of the embedded model and of Stable Diffusion 3 have one shape: no store takes one for the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from diversity_guidance.embedded.assets_path import asset
from diversity_guidance.embedded.latent_space import autoencoder_fingerprint
from diversity_guidance.embedded.lora import TURBO_LORA
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.protected.spaces import latent_space
from safetensors.torch import load_file, save_file
from support.graphs import Drawing, Node, repelled
from support.host_client import HostClient, RunFailed
from support.host_server import HostServer
from support.indexes import built
from support.spreading import spread_out

OURS, THEIRS = "SD3Emoji", "SD3"


def by_unet_loader(graph: Drawing) -> Node:
    return graph.add("UNETLoader", unet_name="emoji.safetensors", weight_dtype="default")


def by_checkpoint(graph: Drawing) -> Node:
    return graph.add("CheckpointLoaderSimple", ckpt_name="emoji checkpoint.safetensors")


def with_lora(graph: Drawing) -> Node:
    model = by_unet_loader(graph)
    return graph.add("LoraLoaderModelOnly", model=model, lora_name=TURBO_LORA, strength_model=0.7)


def merged(graph: Drawing) -> Node:
    return graph.add("ModelMergeSimple", model1=with_lora(graph), model2=by_checkpoint(graph), ratio=0.5)


LOADED: dict[str, Callable[[Drawing], Node]] = {
    "demo node": lambda graph: graph.demo,
    "turbo": lambda graph: graph.add("DiversityDemoModel", model="turbo"),
    "UNETLoader": by_unet_loader,
    "in half precision": lambda graph: graph.add(
        "UNETLoader", unet_name="emoji.safetensors", weight_dtype="fp8_e4m3fn"
    ),
    "checkpoint": by_checkpoint,
    "LoRA": with_lora,
    "merged": merged,
    "guided": lambda graph: graph.repel(by_unet_loader(graph)[0]),
}


@pytest.fixture(scope="module", autouse=True)
def files(server: HostServer) -> None:
    """The embedded model where the host's own loaders look for models."""
    folders = {name: server.base / "models" / name for name in ("diffusion_models", "checkpoints", "loras")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(asset("mmdit.safetensors"), folders["diffusion_models"] / "emoji.safetensors")
    shutil.copy(asset(TURBO_LORA), folders["loras"])
    checkpoint = {
        f"model.diffusion_model.{name}": value for name, value in load_file(asset("mmdit.safetensors")).items()
    }
    save_file(checkpoint, folders["checkpoints"] / "emoji checkpoint.safetensors")
    banks = server.base / "user" / "diversity_banks"
    for name, latent_format, encoder in (
        ("ours", OURS, autoencoder_fingerprint()),
        ("theirs", THEIRS, "1" * 16),
        ("ours, called theirs", THEIRS, autoencoder_fingerprint()),
        ("theirs, called ours", OURS, "1" * 16),
    ):
        latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
        MemoryBank(banks, name).append(latents, latent_format=latent_format, encoder=encoder)
        folder = server.base / "models" / "diversity_indexes" / name
        built(folder, latents, latent_space(latent_format, encoder), ["one.png"])


def steered(graph: Drawing, model: Node, store: str) -> list[Node]:
    """A model beside a bank, twice, and beside an index."""
    bank = graph.add("DiversityMemoryBank", name=store, revision=-1)
    index = graph.add("DiversityProtectedIndex", name=store)
    return [
        repelled(graph, model, bank=bank),
        spread_out(graph, model, bank=bank),
        repelled(graph, model, protected=index),
    ]


@pytest.mark.parametrize("way", LOADED)
def test_the_embedded_model_is_known_however_it_is_loaded(client: HostClient, server: HostServer, way: str) -> None:
    graph = Drawing()
    model, name = LOADED[way](graph), f"made by {way}"
    samples = graph.sample(model[0], steps=1)
    graph.add("DiversityRemember", samples=samples, model=model, name=name)
    for guided in steered(graph, model, "ours"):
        graph.latents(graph.sample(guided, steps=1))
    client.run(graph.prompt)
    assert MemoryBank(server.base / "user" / "diversity_banks", name).snapshot().latent_format == OURS


@pytest.mark.parametrize("store", ["theirs", "ours, called theirs", "theirs, called ours"])
@pytest.mark.parametrize("way", LOADED)
def test_what_another_model_made_is_refused(client: HostClient, way: str, store: str) -> None:
    refused(client, lambda graph: LOADED[way](graph), store)


@pytest.mark.parametrize("store", ["ours", "ours, called theirs", "theirs, called ours"])
def test_what_the_embedded_model_made_is_refused(client: HostClient, store: str) -> None:
    refused(client, lambda graph: graph.add("TestTinyModel", kind="sd3"), store)


def refused(client: HostClient, load: Callable[[Drawing], Node], store: str) -> None:
    sentence = rf"{store}'? holds SD3(Emoji)? latents.* this model (are|makes) SD3|mean different images"
    for place in range(3):
        graph = Drawing()
        graph.add("PreviewAny", source=steered(graph, load(graph), store)[place])
        with pytest.raises(RunFailed, match=sentence):
            client.run(graph.prompt)


def test_stores_take_no_latents_of_the_other_vae(client: HostClient) -> None:
    graph = Drawing()
    samples = graph.sample(steps=1)
    images = graph.add("VAEDecode", samples=samples, vae=graph.demo[2])
    given = {"model": graph.add("TestTinyModel", kind="sd3"), "vae": graph.demo[2]}
    sizes = {"name": "mixed", "folder": "", "width": 64, "height": 64}
    for add in (
        lambda: graph.add("DiversityBuildProtectedIndex", images=images, **sizes, **given),
        lambda: graph.add("DiversityRemember", samples=samples, name="mixed", **given),
    ):
        before = dict(graph.prompt)
        graph.add("PreviewAny", source=add()[1])
        with pytest.raises(
            RunFailed, match=r"This VAE is the demo model's, and this model is not the demo model\. .* Connect"
        ):
            client.run(graph.prompt)
        graph.prompt = before


def test_other_models_of_the_architecture_are_what_the_host_says(client: HostClient, server: HostServer) -> None:
    graph = Drawing()
    other = graph.add("TestTinyModel", kind="sd3")
    graph.add("DiversityRemember", samples=graph.sample(steps=1), model=other, name="of another")
    client.run(graph.prompt)
    bank = MemoryBank(server.base / "user" / "diversity_banks", "of another")
    assert bank.snapshot().latent_format == THEIRS
