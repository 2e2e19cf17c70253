"""Feature centroids on wires: loaded from disk, blended, and drawn as a map."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..kernels.centroids import classical_scaling, squared_separations
from ..metrics.figures.centroid_map import centroid_map
from ..stores.centroid.blend import blended, check_comparable
from ..stores.centroid.centroid import FeatureCentroid
from ..stores.files import digest_of_own
from .common.images import to_host
from .common.sockets import CentroidSocket
from .host.folders import centroid_path
from .host.messages import lasting
from .host.schema import schema_extras

PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")
BLENDED = 4


class DiversityFeatureCentroid(io.ComfyNode):
    """Loads a centroid that a probe saved."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityFeatureCentroid",
            display_name="Load Feature Centroid",
            category="diversity/features",
            description="Loads a centroid that Learn From Examples saved. It belongs to the model that was probed.",
            inputs=[
                io.String.Input(
                    "name",
                    default="",
                    tooltip="The name under which the probe saved it (save_as). A name, not a path.",
                )
            ],
            outputs=[
                CentroidSocket.Output(
                    "centroid", tooltip="For Feature Guidance, Blend Feature Centroids or Map Feature Centroids."
                )
            ],
            hidden=[io.Hidden.unique_id],
            **schema_extras(search_aliases=["diversity", "features", "centroid", "load"]),
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool:
        """Refuse names that could be paths; one that comes along a wire is None here."""
        if name is not None:
            centroid_path(name)
        return True

    @classmethod
    def fingerprint_inputs(cls, name: str | None) -> str:
        """Changes when the file does; a name along a wire is only known when it runs."""
        try:
            return "" if name is None else digest_of_own(centroid_path(name))
        except OSError:
            return ""

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        """Read the file.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        centroid = FeatureCentroid.load(centroid_path(name)).renamed(name)
        text = f"{centroid.images} images, {len(centroid.means)} layers."
        return io.NodeOutput(centroid, ui=lasting(cls.hidden.unique_id, text))


class DiversityFeatureBlend(io.ComfyNode):
    """Blends centroids: between them and beyond."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        inputs: list[Any] = []
        for place in PLACES[:BLENDED]:
            optional = place in PLACES[2:]
            inputs.append(CentroidSocket.Input(place, optional=optional, tooltip=f"The {place} centroid to blend."))
            inputs.append(
                io.Float.Input(
                    f"weight_{place}",
                    default=0.0 if optional else 0.5,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    tooltip=f"Weight of the {place} centroid; weights are divided by their sum. Below 0 the blend "
                    "moves away from it. Off at 0.",
                )
            )
        return io.Schema(
            node_id="DiversityFeatureBlend",
            display_name="Blend Feature Centroids",
            category="diversity/features",
            description="The weighted mean of centroids. Weights of 0.5 and 0.5 lie halfway between two groups; 1.5 "
            "and -0.5 lie beyond the first, away from the second.",
            inputs=inputs,
            outputs=[CentroidSocket.Output("centroid", tooltip="The blend, for Feature Guidance.")],
            **schema_extras(search_aliases=["diversity", "features", "centroid", "interpolate", "mix", "merge"]),
        )

    @classmethod
    def execute(cls, **given: Any) -> io.NodeOutput:
        """Blend those that are wired.

        Raises:
            ValueError: they do not fit together, or the weights add up to nothing.
        """
        wired = [place for place in PLACES[:BLENDED] if given.get(place) is not None]
        centroids = [given[place] for place in wired]
        weights = [float(given[f"weight_{place}"]) for place in wired]
        name = " + ".join(f"{weight:g} {centroid.name}" for weight, centroid in zip(weights, centroids, strict=True))
        return io.NodeOutput(blended(centroids, weights, name))


class DiversityFeatureMap(io.ComfyNode):
    """Draws centroids as a map."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityFeatureMap",
            display_name="Map Feature Centroids",
            category="diversity/features",
            description="Shows how a model sees groups of images: similar ones close together, different ones far "
            "apart.",
            inputs=[
                CentroidSocket.Input(place, optional=place in PLACES[1:], tooltip=f"The {place} centroid on the map.")
                for place in PLACES
            ],
            outputs=[io.Image.Output("map", tooltip="The map. Distances are in units of the spread within groups.")],
            **schema_extras(search_aliases=["diversity", "features", "centroid", "embedding", "plot"]),
        )

    @classmethod
    def execute(cls, **given: FeatureCentroid | None) -> io.NodeOutput:
        """Draw those that are wired.

        Raises:
            ValueError: they are of other models, layers or noise levels.
        """
        centroids = [centroid for place in PLACES if (centroid := given.get(place)) is not None]
        check_comparable(centroids)
        layers = list(centroids[0].means)
        means = [torch.stack([centroid.means[layer] for centroid in centroids]) for layer in layers]
        spreads = [torch.stack([centroid.spreads[layer] for centroid in centroids]) for layer in layers]
        coordinates, shares = classical_scaling(squared_separations(means, spreads))
        return io.NodeOutput(to_host(centroid_map(coordinates, shares, [centroid.name for centroid in centroids])))
