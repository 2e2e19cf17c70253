"""What a guidance did: the record for nodes, the report and tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

MAX_HEADLINE = 60
"""Characters of a headline that the narrowest rendering of a node shows."""

SEE_BELOW = "see the reason below"
"""Replaces a reason that is too long for a headline."""


def name_images(samples: Sequence[int]) -> str:
    """Images by their numbers: "image 3", "images 0, 1 and 4"."""
    *others, last = map(str, samples)
    return f"images {', '.join(others)} and {last}" if others else f"image {last}"


def image_headline(what: str, samples: Sequence[int]) -> str:
    """A headline that names images, or counts them if there are too many."""
    named = f"{what}: {name_images(samples)}"
    return named if len(named) <= MAX_HEADLINE else f"{what}: {len(samples)} images"


@dataclass(frozen=True)
class Contact:
    """A reference whose shield contained a sample.

    Attributes:
        reference: identity of the reference: a bank entry's id, the name of an exemplar or a protected image, or
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
        nearest: L2 distance to the nearest reference, infinity if there is none; outside every shield it may be a lower
            bound, which is never below the radius.
        contacts: the nearest references that pushed, at most ``CONTACTS_KEPT``.
        clipped: whether the norm clip shortened the push.
        cfg_easing: the part of ``correction`` that eases CFG, which the norm clip leaves alone: its norm relative to
            that of the estimate.
    """

    sample: int
    correction: float
    nearest: float
    contacts: tuple[Contact, ...] = ()
    clipped: bool = False
    cfg_easing: float = 0.0


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
        radius: of the shield.
    """

    sample: int
    reference: str
    distance: float
    radius: float


class MethodRecord(Protocol):
    """What a method records of a run beside its steps, such as distances to protected images."""

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
        steps: one record for each evaluation during which the method was active.
        notes: sentences for the user, such as how many references were left out and why.
        violations: final latents still inside a shield, if the method guarantees that there are none.
        finished: whether ``finish`` was called; false after an interrupt.
        final_nearest: L2 distance of each final latent to its nearest reference, in the order of the batch.
        records: of methods, beside the steps.
        inactive: why the method does not act in this run, as the end of a sentence; "" if it does.
        not_finite: final samples that hold NaN or infinity.
        failed: whether the method ended with an error.
        seconds: time spent in the method, including further evaluations of the model.
        extra_evaluations: further evaluations of the model for the method.
        eased: in how many steps the prompt was eased, in a sentence; "" for none.
        reached: how many final images differ, in a sentence, if there is a target; "" otherwise.
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
        """One trace of several methods, method after method."""
        whole = cls(finished=all(trace.finished for trace in traces))
        for trace in traces:
            whole.steps += trace.steps
            whole.notes += trace.notes
            whole.violations += trace.violations
            whole.final_nearest += trace.final_nearest
            whole.records += trace.records
            whole.not_finite = sorted({*whole.not_finite, *trace.not_finite})
            whole.failed |= trace.failed
            whole.seconds += trace.seconds
            whole.extra_evaluations += trace.extra_evaluations
            whole.eased = whole.eased or trace.eased
            whole.reached = whole.reached or trace.reached
        whole.inactive = next((trace.inactive for trace in traces if trace.inactive), "")
        return whole

    def record(self, step: StepRecord) -> None:
        """Append an evaluation at which the method acted, even if the schedule said that it would not."""
        self.steps.append(step)
        self.inactive = ""

    def contacts_of(self, sample: int) -> list[Contact]:
        """Every reference that pushed a sample, once, at its smallest distance; nearest first."""
        closest: dict[str, float] = {}
        for step in self.steps:
            for record in step.samples:
                if record.sample == sample:
                    for contact in record.contacts:
                        seen = closest.get(contact.reference, contact.distance)
                        closest[contact.reference] = min(seen, contact.distance)
        return [Contact(name, distance) for name, distance in sorted(closest.items(), key=lambda item: item[1])]

    def headline(self) -> str:
        """The first line on a node, at most ``MAX_HEADLINE`` characters: what was done, or why nothing was."""
        inside = {violation.sample for violation in self.violations}
        if inside := sorted(inside.union(*(record.not_outside() for record in self.records))):
            return image_headline("NOT outside", inside)
        if self.failed:
            return "Failed with an error, see below"
        if self.not_finite:
            return image_headline("NaN or infinity from the model", self.not_finite)
        return self.reached or self._moved() or self.eased or f"Did nothing: {self._why_nothing()}"

    def details(self) -> str:
        """The text below the headline: what was done, and what it cost."""
        cost = f"It took {self.seconds:.2g} s"
        if self.extra_evaluations:
            cost += f" and {self.extra_evaluations} further evaluations of the model"
        return f"{self.summary()} {cost}."

    def _moved(self) -> str:
        """How many images were moved; "" for none."""
        moved = [step for step in self.steps if step.active_share > 0]
        samples = {record.sample for step in moved for record in step.samples if record.correction > 0}
        if not samples:
            return ""
        return f"Moved {len(samples)} of {len(moved[0].samples)} images in {len(moved)} of {len(self.steps)} steps"

    def _why_nothing(self) -> str:
        if self.inactive:
            # The advice that follows a reason is in the details.
            reason = re.split(r"[:,(]", self.inactive)[0].strip()
            return reason if len(reason) <= MAX_HEADLINE - len("Did nothing: ") else SEE_BELOW
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
                f"active steps, by {mean:.1%} of the estimate on average"
            )
            eased = sum(record.cfg_easing for record in records) / len(records)
            sentence += f" (CFG easing alone: {eased:.1%}; the norm clip does not limit it)." if eased else "."
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
        """Why no step was recorded, as the end of a sentence with a colon; "" if the notes say so."""
        if self.not_finite:
            named = ", ".join(map(str, self.not_finite))
            return f": the model's own estimates hold NaN or infinity (images {named})"
        if not self.inactive and self.notes:
            return ""
        return ": " + (self.inactive or "the model was not evaluated while guidance was active")
