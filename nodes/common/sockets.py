"""Types of the pack's own sockets."""

from __future__ import annotations

from comfy_api.latest import io

BankSocket = io.Custom("DIVERSITY_BANK")
"""A ``BankSnapshot``: an immutable value."""

TraceSocket = io.Custom("DIVERSITY_TRACE")
"""A ``RunTraces``: records of runs, found by the latents that they made."""

ExemplarSocket = io.Custom("DIVERSITY_EXEMPLARS")
"""An ``ExemplarSet``: an immutable value."""

CentroidSocket = io.Custom("DIVERSITY_CENTROID")
"""A ``FeatureCentroid``: an immutable value."""

RepellencyOptionsSocket = io.Custom("DIVERSITY_REPELLENCY_OPTIONS")
"""Values of ``RepellencySettings`` by name, instead of the preset's."""

VendiOptionsSocket = io.Custom("DIVERSITY_VENDI_OPTIONS")
"""Values of ``VendiSettings`` by name, instead of the preset's."""

NoiseOptionsSocket = io.Custom("DIVERSITY_NOISE_OPTIONS")
"""Arguments of Diverse Noise by name."""

ReportOptionsSocket = io.Custom("DIVERSITY_REPORT_OPTIONS")
"""Fields of ``ReportOptions`` by name."""

NumbersSocket = io.Custom("DIVERSITY_REPORT_NUMBERS")
"""A ``ReportNumbers``."""

IndexSocket = io.Custom("DIVERSITY_INDEX")
"""A ``ProtectedIndex``, opened: read-only, whatever is added to it on disk meanwhile."""
