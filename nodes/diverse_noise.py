"""Diverse Noise (after arXiv 2202.09573) as NOISE for custom samplers and as a patch of a MODEL for all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..guidance.noise import (
    MAX_SET,
    MIN_AVOIDED,
    Mode,
    NoiseDesign,
)
from ..stores.bank.snapshot import BankSnapshot
from .common.belonging import check_bank_fits
from .common.sockets import BankSocket, NoiseOptionsSocket
from .host.latents import plain_latents
from .host.messages import VERDICT, logger, tell
from .host.noise import with_initial_noise
from .host.schema import schema_extras

DEFAULTS = NoiseDesign(seed=0)
LARGEST_SEED = 2**64 - 1


class DiversityNoise(io.ComfyNode):
    """Makes the initial noise of a batch, and of the batches after it, as one set."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityNoise",
            display_name="Start From Different Noise (Diverse Noise)",
            category="diversity/guidance",
            description="Makes the initial noise of a batch as one set whose members keep apart. Each of them alone is "
            "ordinary noise. Use the noise with SamplerCustomAdvanced, or the model with KSampler.",
            inputs=[
                io.Int.Input(
                    "set_seed",
                    default=DEFAULTS.seed,
                    min=0,
                    max=LARGEST_SEED,
                    tooltip="Seed of the set. It replaces the sampler's seed, which then only decides on the noise "
                    "that ancestral and SDE samplers add later.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(get_args(Mode)),
                    default=DEFAULTS.mode,
                    tooltip="quantised: the lowest frequencies, which carry composition, are chosen together. "
                    "simplex: noises keep apart in all their values. independent: ordinary noise; every image can "
                    "still be generated again on its own.",
                ),
                io.Int.Input(
                    "set_size",
                    default=DEFAULTS.set_size,
                    min=1,
                    max=MAX_SET,
                    tooltip="How many noises are designed together, in one batch or over several parts. At 1 noise is "
                    "independent, except that quantised noise still keeps away from bank and avoid.",
                ),
                io.Int.Input(
                    "part",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    control_after_generate=True,
                    tooltip="Which batch of the set this is, counted from 0. Set its control to increment, and every "
                    "queue continues where the last one ended.",
                ),
                io.Model.Input(
                    "model", optional=True, tooltip="The model, for samplers without a noise input such as KSampler."
                ),
                BankSocket.Input(
                    "bank",
                    optional=True,
                    tooltip="Earlier images whose composition quantised noise keeps away from.",
                ),
                io.Latent.Input(
                    "avoid",
                    optional=True,
                    tooltip="More images whose composition quantised noise keeps away from, as latents. Together with "
                    "the bank at least two are needed.",
                ),
                NoiseOptionsSocket.Input(
                    "options", optional=True, tooltip="Rarely needed settings, from Diverse Noise Options."
                ),
            ],
            outputs=[
                io.Noise.Output("noise", tooltip="Noise for SamplerCustomAdvanced."),
                io.Model.Output(
                    "patched_model", tooltip="The model. Every sampler that uses it starts from this noise."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            **schema_extras(
                search_aliases=[
                    "same picture",
                    "same image",
                    "all images look alike",
                    "variety",
                    "variation",
                    "different",
                    "seed variance",
                    "simplex",
                    "initial noise",
                    "diversity",
                ]
            ),
        )

    @classmethod
    def execute(
        cls,
        set_seed: int,
        mode: Mode,
        set_size: int,
        part: int,
        model: Any = None,
        bank: BankSnapshot | None = None,
        avoid: dict[str, Any] | None = None,
        options: Mapping[str, int] | None = None,
    ) -> io.NodeOutput:
        """Design the noise; it is made when a sampler asks for it.

        Raises:
            ValueError: a number is out of its range, or the images to stay away from do not fit the mode or model.
        """
        given = None if avoid is None else plain_latents(avoid, "The images to avoid")
        if bank is not None and len(bank) and model is not None:
            check_bank_fits(bank, model)
        if mode != "quantised" and (given is not None or (bank is not None and len(bank))):
            raise ValueError(f'Only quantised noise keeps away from images, and the mode is "{mode}": disconnect them.')
        chosen = {"designed": DEFAULTS.designed, "part_size": 0, **(options or {})}
        design = NoiseDesign(set_seed, mode, set_size, chosen["designed"])
        source = _Source(design, part, chosen["part_size"], bank, given, cls.hidden.unique_id)
        noise = DesignedNoise(source)
        patched: Any = ExecutionBlocker("Diverse Noise has no model to patch: connect one to it.")
        if model is not None:
            patched = with_initial_noise(model, source.make, source.warn)
        return io.NodeOutput(noise, patched, ui={VERDICT: [source.shown]})


class DiversityNoiseOptions(io.ComfyNode):
    """The rarer choices of Diverse Noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="DiversityNoiseOptions",
            display_name="Diverse Noise Options",
            category="diversity/guidance",
            description="For experts: how much of the noise is designed, and how many images a part has.",
            inputs=[
                io.Int.Input(
                    "designed",
                    default=DEFAULTS.designed,
                    min=1,
                    max=4096,
                    tooltip="How many coefficients of the lowest frequencies, over all channels, quantised noise "
                    f"chooses together. The default is {DEFAULTS.designed}.",
                ),
                io.Int.Input(
                    "part_size",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="How many images a part has. Needed only to generate single images of a later part again. "
                    "At 0 a part is a whole batch.",
                ),
            ],
            outputs=[
                NoiseOptionsSocket.Output("options", tooltip="For the options input of Start From Different Noise.")
            ],
            **schema_extras(search_aliases=["simplex", "initial noise", "diversity"]),
        )

    @classmethod
    def execute(cls, designed: int, part_size: int) -> io.NodeOutput:
        """Hand them on."""
        return io.NodeOutput({"designed": designed, "part_size": part_size})


@dataclass(frozen=True)
class _Source:
    """A design, which part of it is used, and what it stays away from."""

    design: NoiseDesign
    part: int
    part_size: int
    bank: BankSnapshot | None
    given: Tensor | None
    node_id: str | None
    shown: dict[str, str] = field(default_factory=lambda: {"text": "", "details": ""}, compare=False)
    """What the node shows; the host keeps this very object with its output, as in `RunTraces`."""

    def make(self, places: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        """Noise for these places of this part's batch; ValueError where its beginning or the images do not fit."""
        some = list(places) != list(range(len(places)))
        if some and self.part and not self.part_size:
            raise ValueError(
                f"These latents are only some of a batch, and part {self.part} begins after {self.part} whole batches: "
                "set part_size to the number of images in a batch."
            )
        first = self.part * (self.part_size or len(places))
        numbers = [first + place for place in places]
        design = self._design_for(shape)
        noise = design.sample(numbers, shape)
        details = f"Noises {_spans(numbers)}, counted over all parts"
        if design.avoided:
            details += f", away from {design.avoided} images"
        elif design.mode == "quantised" and (self.bank is not None or self.given is not None):
            details += f", away from nothing: at least {MIN_AVOIDED} images are needed"
        text = f"{design.mode} noise for {len(numbers)} images, sets of {design.set_size}"
        self.shown.update(text=text, details=f"{details}.")
        tell(self.node_id, self.shown)
        return noise

    def warn(self, text: str) -> None:
        """Show a sentence on the node, after what it says, and in the log."""
        logger.warning("Diverse Noise (node %s): %s", self.node_id, text)
        self.shown["details"] += f" {text}"
        tell(self.node_id, self.shown)

    def _design_for(self, shape: tuple[int, ...]) -> NoiseDesign:
        avoided = []
        if self.bank is not None and self.bank.latent_format is not None:
            avoided.append(self.bank.matching(self.bank.latent_format, shape).latents[-MAX_SET:].float())
        if self.given is not None:
            avoided.append(self.given.float())
        kept = [block for block in avoided if len(block)]
        if not kept:
            return self.design
        if len({tuple(block.shape[1:]) for block in kept}) > 1:
            raise ValueError("The images to avoid differ in size from those of the bank: resize them first.")
        return NoiseDesign(
            self.design.seed, self.design.mode, self.design.set_size, self.design.designed, torch.cat(kept)
        )


class DesignedNoise:
    """The host's NOISE: what custom samplers ask for noise, and for the seed of what they add later."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.seed = (source.design.seed + source.part) % (LARGEST_SEED + 1)

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        """Noise in the shape of a LATENT.

        Raises:
            ValueError: the latents are several in one, or the design cannot tell what to make for them.
        """
        samples = plain_latents(input_latent, "The latents to make noise for")
        places = [int(place) for place in input_latent.get("batch_index") or range(len(samples))]
        return self.source.make(places, tuple(samples.shape[1:])).to(samples.dtype)


def _spans(numbers: Sequence[int]) -> str:
    """Numbers from 0 as people count them: "1 to 8", or "3, 7"."""
    first, last = numbers[0] + 1, numbers[-1] + 1
    if last - first + 1 == len(numbers) and len(numbers) > 1:
        return f"{first} to {last}"
    return ", ".join(str(number + 1) for number in numbers)
