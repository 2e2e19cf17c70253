"""What outlives a run: Memory Bank, Exemplar Set, Protected Index, feature centroids."""

from .bank.bank import MemoryBank
from .bank.maintenance.info import list_banks
from .bank.snapshot import BankSnapshot
from .centroid.centroid import FeatureCentroid
from .exemplar_set import ExemplarSet
from .protected.builder import IndexBuilder
from .protected.index import ProtectedIndex

__all__ = [
    "BankSnapshot",
    "ExemplarSet",
    "FeatureCentroid",
    "IndexBuilder",
    "MemoryBank",
    "ProtectedIndex",
    "list_banks",
]
