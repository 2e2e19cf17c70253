"""The nodes, as one extension of ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .build_protected_index import DiversityBuildProtectedIndex
from .common.inputs import checked
from .demo_model import DiversityDemoModel
from .diverse_noise import DiversityNoise, DiversityNoiseOptions
from .diversity_report import DiversityReport
from .exemplar_set import DiversityExemplarSet
from .feature_centroids import DiversityFeatureBlend, DiversityFeatureCentroid, DiversityFeatureMap
from .feature_guidance import DiversityFeatureGuidance
from .feature_probe import DiversityFeatureProbe
from .host.folders import find_folders
from .memory_bank import DiversityMemoryBank
from .panel.routes import add_routes
from .pick import DiversityPick
from .protected_index import DiversityProtectedIndex
from .remember import DiversityRemember
from .report.options import DiversityReportNumbers, DiversityReportOptions, DiversityReportProtectionOptions
from .report.stop_early import DiversityStopEarly
from .sparse_repellency import DiversitySparseRepellency, DiversitySparseRepellencyOptions
from .vendi_guidance import DiversityVendiGuidance, DiversityVendiGuidanceOptions, DiversityVendiScoreOptions


class DiversityExtension(ComfyExtension):
    """All nodes of the pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The node classes, in the order of the menu."""
        find_folders()
        add_routes()
        nodes = [
            DiversityDemoModel,
            DiversitySparseRepellency,
            DiversitySparseRepellencyOptions,
            DiversityVendiGuidance,
            DiversityVendiGuidanceOptions,
            DiversityVendiScoreOptions,
            DiversityNoise,
            DiversityNoiseOptions,
            DiversityMemoryBank,
            DiversityRemember,
            DiversityExemplarSet,
            DiversityProtectedIndex,
            DiversityBuildProtectedIndex,
            DiversityReport,
            DiversityReportOptions,
            DiversityReportProtectionOptions,
            DiversityReportNumbers,
            DiversityStopEarly,
            DiversityFeatureGuidance,
            DiversityFeatureProbe,
            DiversityFeatureCentroid,
            DiversityFeatureBlend,
            DiversityFeatureMap,
            DiversityPick,
        ]
        return [checked(node) for node in nodes]
