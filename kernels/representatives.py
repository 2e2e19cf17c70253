"""Choose representative members of a set: measure quantization (arXiv 2202.09573, A2) restricted to the members."""

from __future__ import annotations

from itertools import combinations
from math import comb

import torch
from torch import Tensor

from .precision import require_finite, to_float64

# Up to this many choices are compared exhaustively.
_EXHAUSTIVE = 10_000
# First members that are tried: all of a contact sheet, or the most central ones of a large set.
_STARTS = 64
_ROUNDING = 1e-12
_SHARPNESS = 4


def kind_weights(distances: Tensor) -> Tensor:
    """Weights (M,) under which each kind of member counts once, however many members it has.

    A member weighs the inverse of the similarities to all: max(0, 1 - (d / d_max)^2)^4, so that only members much
    closer than the farthest share their weight. Members that are all equally far apart weigh the same.

    Args:
        distances: (M, M) symmetric distances.

    Raises:
        ValueError: the distances are not finite.
    """
    table = require_finite(to_float64(distances), "Distances")
    nearness = (1 - (table / table.max().clamp_min(1e-12)).square()).clamp_min(0)
    weights = 1 / nearness.pow(_SHARPNESS).sum(1)
    return weights / weights.sum()


def choose_representatives(
    distances: Tensor, count: int, weights: Tensor | None = None, costs: Tensor | None = None
) -> list[int]:
    """Choose the members whose energy distance to the whole set is smallest: typical and different from each other.

    The search is exhaustive where there are few choices. Otherwise it is greedy from several first members, followed
    by exchanges of one member for another while they help.

    Args:
        distances: (M, M) symmetric distances.
        count: how many to choose, J.
        weights: (M,) of the members in the whole set, with sum 1; None for equal ones.
        costs: (M,) of choosing each member, in units of the distances; None for none.

    Returns:
        J indices, ascending.

    Raises:
        ValueError: the distances are not a square of finite numbers, or J is not between 1 and M.
    """
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"Expected a square of distances, got shape {tuple(distances.shape)}.")
    if not 1 <= count <= len(distances):
        raise ValueError(f"Of {len(distances)} members {count} cannot be chosen: choose from 1 to {len(distances)}.")
    table = require_finite(to_float64(distances), "Distances")
    to_all = table.mean(1) if weights is None else table @ to_float64(weights)
    if costs is not None:
        to_all = to_all + to_float64(costs)
    if comb(len(table), count) <= _EXHAUSTIVE:
        choices = torch.tensor(list(combinations(range(len(table)), count)), device=table.device)
        return choices[int(_energies(choices, table, to_all).argmin())].tolist()
    firsts = to_all.argsort(stable=True)[:_STARTS].tolist()
    searched = [_exchanged(_completed([first], table, to_all, count), table, to_all) for first in firsts]
    choices = torch.tensor(searched, device=table.device)
    return choices[int(_energies(choices, table, to_all).argmin())].tolist()


def _completed(chosen: list[int], table: Tensor, to_all: Tensor, count: int) -> list[int]:
    """Add the best member until there are ``count``."""
    while len(chosen) < count:
        cost = to_all - table[:, chosen].sum(1) / (len(chosen) + 1)
        cost[chosen] = torch.inf
        chosen = [*chosen, int(cost.argmin())]
    return chosen


def _exchanged(chosen: list[int], table: Tensor, to_all: Tensor) -> list[int]:
    """Exchange one member for another while that helps, and sort."""
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
    """Energy distances (n,) of choices (n, J), up to a constant."""
    return to_all[choices].mean(1) - table[choices[:, :, None], choices[:, None, :]].mean((1, 2)) / 2
