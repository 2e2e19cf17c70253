"""What a guidance did: the record that nodes show, the report draws and tests assert on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

VERDICT = 60
"""Most characters of a verdict: what the narrowest rendering of a node shows whole."""

SEE_BELOW = "see the reason below"
"""In a verdict, what stands for a reason that is too long for it."""


def listed(what: str, samples: Sequence[int]) -> str:
    """A verdict that names images by their numbers, or counts them where they are too many to name."""
    *others, last = map(str, samples)
    told = f"{what}: images {', '.join(others)} and {last}" if others else f"{what}: image {last}"
    return told if len(told) <= VERDICT else f"{what}: {len(samples)} images"


@dataclass(frozen=True)
class Contact:
    """A reference inside whose shield a sample was.

    Attributes:
        reference: identity of the reference: a bank entry's id, an exemplar's or a protected image's name, or
            ``batch:<index>``.
        distance: L2 distance before the correction, in the model's latent space.
    """

    reference: str
    distance: float


@dataclass(frozen=True)
class SampleRecord:
    """What happened to one sample at one evaluation.

    Attributes:
        sample: index in the batch.
        correction: norm of the correction relative to the norm of the estimate.
        nearest: L2 distance to the nearest reference, infinity where there is none; outside every shield it may be a
            lower bound of it, never below the radius.
        contacts: the references that pushed, nearest first, at most ``CONTACTS_KEPT``.
        contact_count: how many references pushed in all.
        clipped: whether the norm clip shortened the correction.
    """

    sample: int
    correction: float
    nearest: float
    contacts: tuple[Contact, ...] = ()
    contact_count: int = 0
    clipped: bool = False


CONTACTS_KEPT = 4


@dataclass(frozen=True)
class StepRecord:
    """One evaluation of the model.

    Attributes:
        method: the guidance's name.
        sigma: noise level.
        progress: place in the run, 0 to 1.
        radius: the shield radius in force, in the model's latent space, the largest where masks make samples' differ; 0
            for methods without one.
        samples: one record a sample.
    """

    method: str
    sigma: float
    progress: float
    radius: float
    samples: tuple[SampleRecord, ...]

    @property
    def active_share(self) -> float:
        """Share of samples that were moved."""
        return sum(record.correction > 0 for record in self.samples) / max(len(self.samples), 1)


@dataclass(frozen=True)
class Violation:
    """A final latent that is still inside a shield.

    Attributes:
        sample: index in the batch.
        reference: identity of the reference.
        distance: final L2 distance.
        radius: what it should have been at least.
    """

    sample: int
    reference: str
    distance: float
    radius: float


class MethodRecord(Protocol):
    """What one method tells of a run beside its steps, such as what became of protected images."""

    def sentence(self) -> str:
        """For the face of a node."""
        ...

    def not_outside(self) -> Sequence[int]:
        """Samples that were compared and ended inside a shield."""
        ...


@dataclass
class Trace:
    """The record of one run.

    Attributes:
        steps: one record an evaluation during which the method was active.
        notes: sentences for the user, such as how many references were left out and why.
        violations: final latents that are still inside a shield, where the method promises that none is.
        finished: whether ``finish`` was called, false after an interrupt.
        final_nearest: L2 distance of each final latent to its nearest reference, in the order of the batch.
        records: what methods tell of the run beside their steps.
        inactive: why the method does not act in this run, as the end of a sentence; "" where it may.
        not_finite: final samples that hold NaN or infinity.
        failed: whether an error of the method's own ended it.
        seconds: time spent in the method, further evaluations of the model included.
        extra_evaluations: further evaluations of the model that the method asked for.
        eased: in how many steps the prompt was eased, in a sentence; "" for none.
        reached: how many final images differ, where a target was set; "" where none was.
    """

    steps: list[StepRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    finished: bool = False
    final_nearest: list[float] = field(default_factory=list)
    records: list[MethodRecord] = field(default_factory=list)
    inactive: str = ""
    not_finite: list[int] = field(default_factory=list)
    failed: bool = False
    seconds: float = 0.0
    extra_evaluations: int = 0
    eased: str = ""
    reached: str = ""

    @classmethod
    def concat(cls, traces: Sequence[Trace]) -> Trace:
        """The records of several methods as one trace, method after method."""
        joined = cls(finished=all(trace.finished for trace in traces))
        for trace in traces:
            joined.steps += trace.steps
            joined.notes += trace.notes
            joined.violations += trace.violations
            joined.final_nearest += trace.final_nearest
            joined.records += trace.records
            joined.not_finite = sorted({*joined.not_finite, *trace.not_finite})
            joined.failed |= trace.failed
            joined.seconds += trace.seconds
            joined.extra_evaluations += trace.extra_evaluations
            joined.eased = joined.eased or trace.eased
            joined.reached = joined.reached or trace.reached
        joined.inactive = next((trace.inactive for trace in traces if trace.inactive), "")
        return joined

    def record(self, step: StepRecord) -> None:
        """Note an evaluation at which the method acted, also where its schedule did not lead to expect one."""
        self.steps.append(step)
        self.inactive = ""

    def contacts_of(self, sample: int) -> list[Contact]:
        """Every reference that pushed this sample, once each, at its smallest distance, nearest first."""
        closest: dict[str, float] = {}
        for step in self.steps:
            for record in step.samples:
                if record.sample == sample:
                    for contact in record.contacts:
                        seen = closest.get(contact.reference, contact.distance)
                        closest[contact.reference] = min(seen, contact.distance)
        return [Contact(name, distance) for name, distance in sorted(closest.items(), key=lambda item: item[1])]

    def verdict(self) -> str:
        """The first line on a node, at most ``VERDICT`` characters: what was done, missed or why nothing was done."""
        inside = {violation.sample for violation in self.violations}
        if inside := sorted(inside.union(*(record.not_outside() for record in self.records))):
            return listed("NOT outside", inside)
        if self.failed:
            return "Failed with an error, see below"
        if self.not_finite:
            return listed("NaN or infinity from the model", self.not_finite)
        return self.reached or self._moved() or self.eased or f"Did nothing: {self._why_nothing()}"

    def details(self) -> str:
        """What stands below the verdict: sentences on what was done, and what it cost."""
        cost = f"It took {self.seconds:.2g} s"
        if self.extra_evaluations:
            cost += f" and {self.extra_evaluations} further evaluations of the model"
        return f"{self.summary()} {cost}."

    def _moved(self) -> str:
        """Half of the verdict: how many images were moved; "" where none was."""
        moved = [step for step in self.steps if step.active_share > 0]
        samples = {record.sample for step in moved for record in step.samples if record.correction > 0}
        if not samples:
            return ""
        return f"Moved {len(samples)} of {len(moved[0].samples)} images in {len(moved)} of {len(self.steps)} steps"

    def _why_nothing(self) -> str:
        if self.inactive:
            # The advice behind a reason stands in the details.
            reason = re.split(r"[:,(]", self.inactive)[0].strip()
            return reason if len(reason) <= VERDICT - len("Did nothing: ") else SEE_BELOW
        if any(step.radius > 0 for step in self.steps):
            return "all images were far enough apart"
        if self.steps:
            return "no image needed it"
        return SEE_BELOW

    def summary(self) -> str:
        """One sentence for the face of a node: what was done, or why nothing was."""
        moved = [step for step in self.steps if step.active_share > 0]
        if self.eased and not moved and not self.not_finite:
            sentence = f"No image was pushed{': ' if self.inactive else ''}{self.inactive}."
        elif not moved and (self.inactive or self.not_finite or not self.steps):
            sentence = f"Nothing was moved{self.why_inactive()}."
        elif not moved and any(step.radius > 0 for step in self.steps):
            sentence = "Nothing was moved: no estimate came inside a shield while guidance was active."
        elif not moved:
            sentence = "Nothing was moved: no estimate needed it while guidance was active."
        else:
            records = [record for step in moved for record in step.samples if record.correction > 0]
            samples = {record.sample for record in records}
            mean = sum(record.correction for record in records) / len(records)
            sentence = (
                f"Moved {len(samples)} of {len(moved[0].samples)} images in {len(moved)} of {len(self.steps)} "
                f"active steps, by {mean:.1%} of the estimate on average."
            )
            if clipped := sum(record.clipped for record in records):
                sentence += f" The norm clip shortened {clipped} of {len(records)} pushes."
        if self.violations:
            worst = min(self.violations, key=lambda violation: violation.distance / violation.radius)
            sentence += (
                f" {len(self.violations)} shields are still violated, worst: image {worst.sample} at "
                f"{worst.distance:.3g} from {worst.reference}, wanted {worst.radius:.3g}."
            )
        return " ".join([sentence, *(record.sentence() for record in self.records), *self.notes])

    def why_inactive(self) -> str:
        """Why no step was recorded, as the end of a sentence with a colon; "" where the notes tell."""
        if self.not_finite:
            named = ", ".join(map(str, self.not_finite))
            return f": the model's own estimates hold NaN or infinity (images {named})"
        if not self.inactive and self.notes:
            return ""
        return ": " + (self.inactive or "the model was not evaluated while guidance was active")
