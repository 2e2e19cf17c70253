"""The Diversity Report as a library: numbers, tables, plots."""

from .measured_folder import FolderFeatures, measure_folder
from .report import DiversityReport, measure
from .serialise import to_csv, to_json

__all__ = ["DiversityReport", "FolderFeatures", "measure", "measure_folder", "to_csv", "to_json"]
