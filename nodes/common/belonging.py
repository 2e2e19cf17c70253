"""Whether what a store holds was made by a MODEL's own VAE."""

from __future__ import annotations

from typing import Any

from ...guidance.repellency.protection import check_latent_space
from ...stores.bank.snapshot import BankSnapshot, check_latent_format
from ...stores.protected.index import ProtectedIndex
from ...stores.protected.spaces import encoder_of
from ..host.networks.embedded_model import check_encoder_fits
from ..host.sampling import latent_format_name


def check_bank_fits(bank: BankSnapshot, model: Any) -> None:
    """Refuse a bank of another model's latents.

    Raises:
        ValueError: it is.
    """
    check_latent_format(bank.name, bank.latent_format, latent_format_name(model))
    check_encoder_fits(model, bank.encoder, f"The VAE of the bank '{bank.name}'", "Use another bank.")


def check_index_fits(index: ProtectedIndex, model: Any) -> None:
    """Refuse an index of another model's latents, or of no latents.

    Raises:
        ValueError: it is.
    """
    check_latent_space(index, latent_format_name(model))
    what = f"The VAE of the protected index {index.folder.name}"
    check_encoder_fits(model, encoder_of(index.space), what, "Build an index with this model's VAE.")
