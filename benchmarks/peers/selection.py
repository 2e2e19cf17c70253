"""Group inference (arXiv 2508.15773): of many candidates, keep the group that differs most."""

from __future__ import annotations

import torch
from torch import Tensor


def most_different(distances: Tensor, count: int) -> list[int]:
    """The ``count`` of M candidates with the largest sum of pairwise distances (M, M), greedily, then by exchanges.

    The original also weighs each candidate's fidelity to the prompt by a network, solves the quadratic programme
    exactly, and drops candidates during sampling, which is faster and finds less.
    """
    chosen = [int(distances.sum(1).argmax())]
    while len(chosen) < count:
        gain = distances[:, chosen].sum(1)
        gain[chosen] = -torch.inf
        chosen.append(int(gain.argmax()))
    improved = True
    while improved:
        improved = False
        for place, member in enumerate(chosen):
            rest = chosen[:place] + chosen[place + 1 :]
            gain = distances[:, rest].sum(1)
            gain[rest] = -torch.inf
            best = int(gain.argmax())
            if float(gain[best]) > float(gain[member]) + 1e-6:
                chosen[place], improved = best, True
    return sorted(chosen)
