"""Images or latents to feature vectors."""

from .colour_layout import ColourLayout
from .content.clip import Clip
from .content.network import ContentNetwork
from .encoder import Encoder
from .latent_preview import LatentPreview
from .pooled_latents import PooledLatents
from .random_network import RandomNetwork
from .space import FeatureSpace

__all__ = [
    "Clip",
    "ColourLayout",
    "ContentNetwork",
    "Encoder",
    "FeatureSpace",
    "LatentPreview",
    "PooledLatents",
    "RandomNetwork",
]
