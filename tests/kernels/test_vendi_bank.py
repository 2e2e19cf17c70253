"""The gradient beside a decomposed bank is the gradient of the joined set, also where the parts nearly coincide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diversity_guidance.kernels.similarity import unit_rows
from diversity_guidance.kernels.vendi import log_vendi_gradient
from diversity_guidance.kernels.vendi_bank import bank_spectrum, log_vendi_gradient_beside
from hypothesis import given
from hypothesis import strategies as st


def rows(seed: int, n: int, d: int) -> torch.Tensor:
    return unit_rows(torch.as_tensor(np.random.default_rng(seed).standard_normal((n, d))))


def joined_gradient(bank: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
    last = torch.arange(len(bank), len(bank) + len(moving))
    return log_vendi_gradient(torch.cat([bank, moving]), rows=last)


@given(
    seed=st.integers(0, 999),
    n=st.integers(0, 12),
    r=st.integers(1, 5),
    d=st.integers(1, 14),
)
def test_beside_a_bank_the_gradient_is_that_of_the_joined_set(seed: int, n: int, r: int, d: int) -> None:
    bank, moving = rows(seed, n, d), rows(seed + 1, r, d)
    gradient = log_vendi_gradient_beside(bank_spectrum(bank), moving)
    torch.testing.assert_close(gradient, joined_gradient(bank, moving), atol=1e-8, rtol=0)


@pytest.mark.parametrize(("n", "d"), [(20, 6), (6, 20), (180, 64)])
def test_copies_among_the_rows_and_of_the_bank(n: int, d: int) -> None:
    bank = rows(1, n, d)
    bank[1] = bank[0]
    moving = rows(2, 6, d)
    moving[1], moving[2], moving[3] = moving[0], bank[0], bank[2]
    moving[4] = unit_rows(moving[:1] + 1e-7 * moving[5])[0]
    gradient = log_vendi_gradient_beside(bank_spectrum(bank), moving)
    torch.testing.assert_close(gradient, joined_gradient(bank, moving), atol=1e-6, rtol=0)


def test_a_nearly_flat_bank_and_a_row_along_its_thin_direction() -> None:
    bank = rows(3, 1, 8).repeat(30, 1)
    bank[1] = unit_rows(bank[:1] + 1e-5 * rows(4, 1, 8))[0]
    moving = unit_rows(torch.stack([bank[1] - bank[0], bank[1] - bank[0], bank[0]]))
    gradient = log_vendi_gradient_beside(bank_spectrum(bank), moving)
    torch.testing.assert_close(gradient, joined_gradient(bank, moving), atol=1e-6, rtol=0)


def test_result_has_the_dtype_of_the_rows() -> None:
    spectrum = bank_spectrum(rows(5, 9, 4).half())
    gradient = log_vendi_gradient_beside(spectrum, rows(6, 2, 4).half())
    assert gradient.dtype == torch.float16
    assert spectrum.vectors.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bank_spectrum(2 * torch.eye(3)), "unit length"),
        (lambda: bank_spectrum(torch.full((2, 3), torch.nan)), "finite"),
        (lambda: log_vendi_gradient_beside(bank_spectrum(torch.eye(3)), torch.eye(4)), "3 features"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
