"""The methods as controllers of one sampling run, without a host."""

from .activations.guidance import FeatureGuidance
from .activations.settings import FeatureSettings
from .base import Chain, Guidance, SamplingRun, SamplingStep
from .limits import NormClip, SigmaInterval
from .noise import NoiseDesign
from .prompt_easing import EasingSettings, PromptEasing
from .references import ImageReferences
from .repellency.guidance import SparseRepellency
from .repellency.settings import RepellencySettings
from .trace import Trace
from .vendi.guidance import VendiGuidance
from .vendi.settings import VendiSettings

__all__ = [
    "Chain",
    "EasingSettings",
    "FeatureGuidance",
    "FeatureSettings",
    "Guidance",
    "ImageReferences",
    "NoiseDesign",
    "NormClip",
    "PromptEasing",
    "RepellencySettings",
    "SamplingRun",
    "SamplingStep",
    "SigmaInterval",
    "SparseRepellency",
    "Trace",
    "VendiGuidance",
    "VendiSettings",
]
