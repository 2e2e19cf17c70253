"""Feature Guidance (arXiv 2410.11646, without training) as a patch of a MODEL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..guidance.activations.guidance import FeatureGuidance
from ..guidance.activations.layers import find_layers, select_layers
from ..guidance.activations.probe import network_fingerprint
from ..guidance.activations.settings import (
    MODES,
    RECOMMENDED_END,
    FeatureSettings,
    Mode,
)
from ..guidance.limits import SigmaInterval
from ..stores.centroid.centroid import FeatureCentroid
from .common.sockets import CentroidSocket
from .common.steering import (
    check_numbers,
    end_input,
    left_alone,
    start_input,
    steered,
    steered_output,
    steering_schema,
)
from .host.layers import readable_network, with_feature_hooks
from .host.sampling import latent_format_name

DEFAULTS = FeatureSettings()


class DiversityFeatureGuidance(io.ComfyNode):
    """Shifts what a model's layers hold while it samples."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityFeatureGuidance",
            display_name="Steer Towards or Away (Feature Guidance)",
            category="diversity/features",
            description="Steers inside the network: shifts the channel means of its layers towards those of examples, "
            "away from them, or apart from one another.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to steer: the one that was probed. The original stays unchanged."
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=DEFAULTS.mode,
                    tooltip="towards: to the centroid. away: from the centroid. spread: the images of a batch apart; "
                    "connect a reference and no centroid.",
                ),
                io.Float.Input(
                    "strength",
                    default=DEFAULTS.strength,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    tooltip="How far images are moved from the reference (0) to the centroid (1) and beyond (2 is as "
                    "far again). Images that have arrived are left alone. Without a reference it is the share of each "
                    "image's own distance: stay below 1. For spread, the unit is one standard deviation of the "
                    "reference's images. Off at 0.",
                ),
                start_input(),
                end_input(RECOMMENDED_END),
                io.String.Input(
                    "layers",
                    default="all",
                    tooltip="Which layers are steered: all, middle, or names with ranges and weights, such as "
                    "joint_blocks.3, joint_blocks.8-12 = 0.5. They must have been probed.",
                ),
                CentroidSocket.Input("centroid", optional=True, tooltip="The group to move towards or away from."),
                CentroidSocket.Input(
                    "reference",
                    optional=True,
                    tooltip="The centroid of what the model generates for the prompt by itself, at CFG 1. With it, "
                    "images move only along the line from reference to centroid, until they have arrived. For spread, "
                    "it shows how images can differ: probe at least 16.",
                ),
            ],
            **steering_schema("steering", "activations", "features", "centroid"),
        )

    @classmethod
    def validate_inputs(cls, strength: float | None = None) -> bool:
        """Refuse numbers out of their range before anything runs; what comes along a wire is None here."""
        return check_numbers(DEFAULTS, strength=strength)

    @classmethod
    def execute(
        cls,
        model: Any,
        mode: Mode,
        strength: float,
        start_percent: float,
        end_percent: float,
        layers: str,
        centroid: FeatureCentroid | None = None,
        reference: FeatureCentroid | None = None,
    ) -> io.NodeOutput:
        """Patch the model, unless its features are to be left alone.

        Raises:
            ValueError: a number is out of its range, there are no such layers, a centroid is missing or of another
                model, or the network cannot be read.
        """
        settings = FeatureSettings(mode, strength)
        network = readable_network(model)
        found = find_layers(network)
        weights = select_layers(found, layers)
        fingerprint = network_fingerprint(network, found)
        for given in (centroid, reference):
            if given is not None:
                given.check_model(fingerprint, latent_format_name(model))
        if FeatureGuidance(settings, weights, centroid, reference).is_off:
            return left_alone(model, "strength is 0, or no layer is chosen", cls.hidden.unique_id)

        def make(interval: SigmaInterval, _: SigmaInterval) -> FeatureGuidance:
            return FeatureGuidance(replace(settings, interval=interval), weights, centroid, reference)

        patched, traces = steered(model, make, start_percent, end_percent, FeatureGuidance.name, cls.hidden.unique_id)
        return steered_output(with_feature_hooks(patched), traces)
