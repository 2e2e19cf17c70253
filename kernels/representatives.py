"""The members that represent a set best: measure quantization (arXiv 2202.09573, A2) among the members themselves."""

from __future__ import annotations

from itertools import combinations
from math import comb

import torch
from torch import Tensor

from .precision import require_finite, to_float64

_ALL_TRIED = 10_000
# First members that are tried: all of a contact sheet, and the most central of a large set.
_STARTS = 64
_ROUNDING = 1e-12


def choose_representatives(distances: Tensor, count: int) -> list[int]:
    """Choose the members whose energy distance to the whole set is smallest: common ones, and unlike each other.

    Of few possible choices all are tried. Else, from each of several first members, the others are taken one by one,
    the best first, and then exchanged one for one as long as that helps.

    Args:
        distances: (M, M) symmetric distances.
        count: how many to choose, J.

    Returns:
        J places, ascending.

    Raises:
        ValueError: the distances are not a square of finite numbers, or J is not between 1 and M.
    """
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"Expected a square of distances, got shape {tuple(distances.shape)}.")
    if not 1 <= count <= len(distances):
        raise ValueError(f"Of {len(distances)} members {count} cannot be chosen: choose from 1 to {len(distances)}.")
    table = require_finite(to_float64(distances), "Distances")
    to_all = table.mean(1)
    if comb(len(table), count) <= _ALL_TRIED:
        choices = torch.tensor(list(combinations(range(len(table)), count)), device=table.device)
        return choices[int(_energies(choices, table, to_all).argmin())].tolist()
    firsts = to_all.argsort(stable=True)[:_STARTS].tolist()
    searched = [_exchanged(_completed([first], table, to_all, count), table, to_all) for first in firsts]
    choices = torch.tensor(searched, device=table.device)
    return choices[int(_energies(choices, table, to_all).argmin())].tolist()


def _completed(chosen: list[int], table: Tensor, to_all: Tensor, count: int) -> list[int]:
    """Take the best member again and again."""
    while len(chosen) < count:
        cost = to_all - table[:, chosen].sum(1) / (len(chosen) + 1)
        cost[chosen] = torch.inf
        chosen = [*chosen, int(cost.argmin())]
    return chosen


def _exchanged(chosen: list[int], table: Tensor, to_all: Tensor) -> list[int]:
    """Exchange one member for another as long as that helps, and sort."""
    chosen, count = list(chosen), len(chosen)
    while True:
        inside = table[:, chosen].sum(1)
        leave = to_all[chosen] - inside[chosen] / count
        enter = to_all[:, None] - (inside[:, None] - table[:, chosen]) / count
        saved = leave - enter
        saved[chosen] = -torch.inf
        best = int(saved.argmax())
        if float(saved.flatten()[best]) <= _ROUNDING * float(table.max()):
            return sorted(chosen)
        chosen[best % count] = best // count


def _energies(choices: Tensor, table: Tensor, to_all: Tensor) -> Tensor:
    """Energy distances (n,) of choices (n, J), but for a constant."""
    return to_all[choices].mean(1) - table[choices[:, :, None], choices[:, None, :]].mean((1, 2)) / 2
