"""Traces of the runs of a guided MODEL, found by the latents that they made."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from ...guidance.trace import CONTACTS_KEPT, Contact, Trace
from ..host.latents import identities

RUNS_KEPT = 32

_last: deque[RunPushes] = deque(maxlen=1)


@dataclass(frozen=True)
class RunPushes:
    """What pushed the images of a run.

    Attributes:
        told: the headline of the run.
        ids: content id of each final latent, as banks store them.
        contacts: of each, the nearest references that pushed it, at most ``CONTACTS_KEPT``.
        has_shields: whether only what came inside a shield pushed. Otherwise everything pushes, and the nearest weigh
            most.
    """

    told: str
    ids: tuple[str, ...]
    contacts: tuple[tuple[Contact, ...], ...]
    has_shields: bool


def last_run() -> RunPushes | None:
    """The last guided run of this session in which something was compared; None before the first."""
    return _last[-1] if _last else None


@dataclass(frozen=True)
class RunTraces:
    """The records of the last runs of one guided MODEL; goes along a wire beside it.

    The host hands the same object to every consumer and runs a node again only when its inputs change. So a record is
    found by the latents that the run made, whatever was sampled with the same MODEL before or since: what a consumer
    reads depends on its inputs alone.
    """

    shown: dict[str, str] = field(default_factory=dict)
    """What the node shows of the last run; the host keeps this very object with the node's output, and sends it again
    when the node is not run anew."""
    _runs: deque[tuple[str, tuple[str, ...], Trace]] = field(
        default_factory=lambda: deque(maxlen=RUNS_KEPT), repr=False
    )

    def record(self, latents: Tensor, latent_format: str, trace: Trace) -> None:
        """Keep the record of the run that made these raw latents (B, C, ...)."""
        made = identities(latents, latent_format)
        self._runs.append((latent_format, made, trace))
        has_shields = any(step.radius > 0 for step in trace.steps)
        contacts = tuple(tuple(trace.contacts_of(sample)[:CONTACTS_KEPT]) for sample in range(len(made)))
        if has_shields or any(contacts):
            _last.append(RunPushes(trace.headline(), made, contacts, has_shields))

    def of(self, latents: Tensor) -> Trace | None:
        """The record of the latest run that made exactly these latents; None if none of those kept did."""
        wanted = {name: identities(latents, name) for name in {name for name, _, _ in self._runs}}
        return next((trace for name, made, trace in reversed(self._runs) if made == wanted[name]), None)
