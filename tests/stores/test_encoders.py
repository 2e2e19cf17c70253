"""Latents of two VAEs are never mixed, though their formats may share a name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diversity_guidance.guidance.repellency.protection import check_latent_space
from diversity_guidance.stores.bank.bank import MemoryBank
from diversity_guidance.stores.bank.snapshot import BankSnapshot
from diversity_guidance.stores.encoders import EncoderError
from diversity_guidance.stores.protected.builder import IndexBuilder
from diversity_guidance.stores.protected.index import ProtectedIndex
from diversity_guidance.stores.protected.spaces import encoder_of, latent_format_of, latent_space, name_of
from support.random_latents import SHAPE, random_latents

MINE, OTHER = "0123456789abcdef", "fedcba9876543210"
REFUSED = rf"holds latents made by another VAE \({MINE}, this one is {OTHER}\)\. (Use|Choose) another"


def test_a_bank_refuses_latents_of_another_vae_on_disk_and_along_wires(bank: MemoryBank) -> None:
    bank.append(random_latents(1), latent_format="SD3")
    assert bank.snapshot().encoder == ""
    bank.append(random_latents(1, seed=1), latent_format="SD3", encoder=MINE)
    bank.append(random_latents(1, seed=2), latent_format="SD3")  # not known: a sampler has no VAE
    assert bank.snapshot().encoder == MINE
    wired = BankSnapshot.empty().extended(random_latents(1), latent_format="SD3", encoder=MINE)
    for deed in (bank.append, bank.snapshot().extended, wired.extended):
        with pytest.raises(EncoderError, match=REFUSED):
            deed(random_latents(1, seed=3), latent_format="SD3", encoder=OTHER)
    assert bank.revision == 3
    bank.clear()
    bank.append(random_latents(1), latent_format="SD3", encoder=OTHER)
    assert bank.snapshot().encoder == OTHER


def test_an_index_refuses_latents_of_another_vae(tmp_path: Path) -> None:
    space = latent_space("SD3", MINE)
    with IndexBuilder(tmp_path, space, SHAPE) as builder:
        builder.append(torch.zeros(1, *SHAPE), ["a"])
        builder.finish()
    with pytest.raises(EncoderError, match=REFUSED):
        IndexBuilder(tmp_path, latent_space("SD3", OTHER), SHAPE)
    assert ProtectedIndex.open(tmp_path).space == space


def test_a_space_tells_its_format_and_its_vae() -> None:
    space = latent_space("SD3", MINE)
    assert (latent_format_of(space), encoder_of(space)) == ("SD3", MINE)
    assert name_of(space) == f"SD3 latents of the VAE {MINE}" and name_of(latent_space("SD3")) == "SD3 latents"
    assert latent_format_of("features:x@y") == encoder_of("features:x@y") == encoder_of(latent_space("SD3")) == ""


def test_an_index_of_the_embedded_autoencoder_protects_nothing_of_real_models(tmp_path: Path) -> None:
    """It is laid out as Stable Diffusion 3's latents are, and means other images."""
    pytest.importorskip("diffusers", reason="the embedded model needs it")
    from diversity_guidance.embedded.latent_space import LATENT_FORMAT, autoencoder_fingerprint
    from diversity_guidance.indexing.encoders import LATENTS, image_encoder

    space = image_encoder(LATENTS).space
    assert encoder_of(space) == autoencoder_fingerprint()
    with IndexBuilder(tmp_path, space, SHAPE) as builder:
        builder.append(torch.zeros(1, *SHAPE), ["a"])
        builder.finish()
    index = ProtectedIndex.open(tmp_path)
    check_latent_space(index, LATENT_FORMAT)
    with pytest.raises(ValueError, match="this model makes SD3"):
        check_latent_space(index, "SD3")
