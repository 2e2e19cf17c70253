"""The Image Retrieval Score (arXiv 2411.16171) as measures of the report."""

from __future__ import annotations

import math

from ...kernels.retrieval import rejection_threshold
from .measure import Measure
from .retrieval import ERROR, AdjustedScore, Retrieval

COVERAGE_CLAIM = 0.8
"""Share of the references in the claim that the report tests: "so many are covered"."""


def retrieval_measures(
    retrieval: Retrieval | None,
    real: Retrieval | None,
    adjusted: AdjustedScore | None,
    space: str,
    count: int,
    references: int,
) -> list[Measure]:
    """IRS_alpha, IRS_infinity, the adjusted score, and the test of a claimed coverage.

    Args:
        retrieval: by the images; None without images or references.
        real: by held-out real images, if there are any.
        adjusted: the first relative to the second.
        space: tag of the feature space.
        count: of images.
        references: size of the reference set.
    """
    if retrieval is None:
        note = "Retrieval needs at least one image and one reference."
        names = ("irs_alpha", "irs_infinity", "irs_infinity_adjusted", "irs_rejection_threshold")
        return [Measure(name, None, space, count, references, note=note) for name in names]
    measures = _scores_of(retrieval, "", space)
    if real is not None and adjusted is not None:
        measures += _scores_of(real, "_real", space)
        measures.append(
            Measure(
                "irs_infinity_adjusted",
                adjusted.value,
                space,
                adjusted.draws,
                references,
                lower=adjusted.lower,
                upper=adjusted.upper,
                interval="bounds of both scores combined, at least 80 %",
            )
        )
    else:
        note = "Give held-out real images: no feature space lets even real images retrieve everything."
        measures.append(Measure("irs_infinity_adjusted", None, space, count, references, note=note))
    claimed = math.ceil(COVERAGE_CLAIM * references)
    threshold = rejection_threshold(claimed, retrieval.draws, ERROR)
    verdict = "refuted" if retrieval.learned <= threshold else "not refuted"
    note = (
        f"{retrieval.learned:,} different references were retrieved: that {COVERAGE_CLAIM:.0%} of the references are "
        f"covered is {verdict} (error {ERROR:.0%})."
    )
    parameters = {"claim": COVERAGE_CLAIM, "error": ERROR}
    measures.append(
        Measure("irs_rejection_threshold", threshold, space, count, references, parameters=parameters, note=note)
    )
    return measures


def _scores_of(retrieval: Retrieval, suffix: str, space: str) -> list[Measure]:
    alpha = {"alpha": retrieval.alpha, "ideal": retrieval.ideal_alpha}
    note = ""
    if retrieval.upper == 1 and retrieval.lower < 0.5:
        note = f"{retrieval.draws:,} images are too few to tell: anything up to all references is possible."
    return [
        Measure(
            f"irs_alpha{suffix}", retrieval.irs_alpha, space, retrieval.draws, retrieval.references, parameters=alpha
        ),
        Measure(
            f"irs_infinity{suffix}",
            retrieval.infinity,
            space,
            retrieval.draws,
            retrieval.references,
            lower=retrieval.lower,
            upper=retrieval.upper,
            interval="90 % exact interval of the occupancy model",
            note=note,
        ),
    ]
