"""Inpainting in a real server: soft masks, masks that change by step, and a mask for each image of a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.embedded.transformer import to_model_space
from diversity_guidance.stores.protected.index import ProtectedIndex
from support.graphs import Drawing, Node, latents_of
from support.host_client import HostClient
from support.host_listener import listen
from support.host_server import HostServer
from support.spreading import spread_out
from torch import Tensor

RADIUS = 0.3
NAME = "drawn for masks"


class Inpainting(Drawing):
    """Two protected images, drawn again under a mask."""

    def protected_images(self) -> Node:
        """What the model draws for the tests' prompt and seed."""
        return self.add("VAEDecode", samples=self.sample(), vae=self.demo[2])

    def mask(self, value: float) -> Node:
        """One value everywhere."""
        return self.add("SolidMask", value=value, width=64, height=64)

    def half(self, x: int) -> Node:
        """A mask that lets half of an image change, from a column on."""
        half = self.add("SolidMask", value=1.0, width=32, height=64)
        return self.add("MaskComposite", destination=self.mask(0.0), source=half, x=x, y=0, operation="add")

    def each(self, *masks: Node) -> Node:
        """One mask for each image."""
        first, second = (self.add("MaskToImage", mask=mask) for mask in masks)
        both = self.add("ImageBatch", image1=first, image2=second)
        return self.add("ImageToMask", image=both, channel="red")

    def again(self, mask: Node, *, differential: bool = False, **settings: Any) -> tuple[Node, Node]:
        """The protected images drawn again where a mask lets them change, and the node that keeps them away."""
        latents = self.add("VAEEncode", pixels=self.protected_images(), vae=self.demo[2])
        model = self.add("DifferentialDiffusion", model=self.demo[0])[0] if differential else None
        wanted = {"radius": RADIUS, "in_batch": False, "ensure_outside": True, **settings}
        if "bank" not in wanted:
            wanted["protected"] = self.add("DiversityProtectedIndex", name=NAME)
        guarded = self.repel(model, **wanted)
        masked = self.add("SetLatentNoiseMask", samples=latents, mask=mask)
        return guarded, self.sample(guarded, latent=masked, denoise=0.6, steps=4, cfg=3.0)


@pytest.fixture(scope="module")
def protected(server: HostServer) -> Tensor:
    """The protected latents, in the model's space."""
    graph = Inpainting()
    graph.add(
        "DiversityBuildProtectedIndex",
        images=graph.protected_images(),
        vae=graph.demo[2],
        model=graph.demo[0],
        name=NAME,
        folder="",
        width=64,
        height=64,
        batch=4,
    )
    server.client.run(graph.prompt)
    index = ProtectedIndex.open(server.base / "models" / "diversity_indexes" / NAME)
    return to_model_space(index.sample(2))


def drawn(client: HostClient, graph: Inpainting, guarded: Node, samples: Node) -> tuple[Tensor, str]:
    """Latents in the model's space, and what the node says."""
    saved = graph.latents(samples)
    heard = listen(client, graph.prompt)
    told = "\n".join(text for node, text in heard.texts if node == guarded.id)
    return to_model_space(latents_of(client, heard.run, saved)), told


def distances(samples: Tensor, protected: Tensor) -> Tensor:
    return torch.cdist(samples.double().flatten(1), protected.double().flatten(1))


def radius_told(told: str) -> float:
    return float(told.split("radius ")[1].split(":")[0].split(" to ")[-1].split(",")[0])


@pytest.mark.parametrize("differential", [False, True], ids=["blended", "Differential Diffusion"])
def test_a_soft_mask_counts_as_a_whole(client: HostClient, protected: Tensor, differential: bool) -> None:
    graph = Inpainting()
    samples, told = drawn(client, graph, *graph.again(graph.mask(0.4), differential=differential))
    radius = radius_told(told)
    assert radius > 5
    assert float(distances(samples, protected).min()) >= radius * (1 - 5e-3)
    assert "Every image is outside every shield" in told and "exact but slow" not in told


def test_a_mask_for_each_image(client: HostClient, protected: Tensor) -> None:
    graph = Inpainting()
    samples, told = drawn(client, graph, *graph.again(graph.each(graph.half(0), graph.half(32)), in_batch=True))
    radius = radius_told(told)
    assert radius > 5
    for row, part in enumerate((slice(0, 4), slice(4, 8))):
        apart = distances(samples[row : row + 1, ..., part], protected[..., part])
        assert float(apart.min()) >= radius * (1 - 5e-3)
    assert "Every image is outside every shield" in told
    assert "Images 0 and 1 were not kept apart: their masks share nothing that may change." in told


@pytest.mark.parametrize("spreads", [False, True], ids=["Sparse Repellency", "Vendi Guidance"])
def test_masks_that_share_nothing_are_the_reason_for_nothing(client: HostClient, spreads: bool) -> None:
    graph = Inpainting()
    latents = graph.add("VAEEncode", pixels=graph.protected_images(), vae=graph.demo[2])
    guided = spread_out(graph, graph.demo[0]) if spreads else graph.repel(ensure_outside=True)
    masked = graph.add("SetLatentNoiseMask", samples=latents, mask=graph.each(graph.half(0), graph.half(32)))
    _, told = drawn(client, graph, guided, graph.sample(guided, latent=masked, denoise=0.6, steps=4, cfg=3.0))
    assert "the masks share nothing that may change" in told
    assert "outside" not in told


def test_a_mask_of_zeros_is_promised_nothing(client: HostClient, protected: Tensor) -> None:
    graph = Inpainting()
    samples, told = drawn(client, graph, *graph.again(graph.each(graph.mask(0.0), graph.mask(1.0))))
    assert float(distances(samples[:1], protected).min()) < 1
    assert float(distances(samples[1:], protected).min()) >= radius_told(told) * (1 - 5e-3)
    assert "Nothing is guaranteed for image 0, where a mask lets nothing change." in told
    assert "Every other image is outside every shield" in told and "Every image" not in told
    graph = Inpainting()
    _, told = drawn(client, graph, *graph.again(graph.mask(0.0)))
    assert "outside" not in told and "Nothing is guaranteed for images 0 and 1" in told
