"""``diversity-guidance bench``: one subcommand a benchmark."""

from __future__ import annotations

import argparse

from . import bank, digits, growth, modes, noise, repellency
from .copies import run as copies
from .faces import run as faces
from .feature_diffusion import run as feature_diffusion
from .features import run as features
from .features import spread
from .index import run as index
from .irs import run as irs
from .pareto import attributes
from .pareto import run as pareto
from .peers import run as peers
from .protection import run as protection
from .report import run as report
from .vendi import cost as vendi_cost
from .vendi import gradient as vendi_gradient
from .vendi import run as vendi

BENCHMARKS = {
    "attributes": (attributes, "whether gender, skin tone and vendor stay as the prompt says"),
    "bank": (bank, "time, memory and disk of a Memory Bank as it grows"),
    "copies": (copies, "different images that are called near-duplicates, and copies that are not"),
    "digits": (digits, "different digits that quantised latents of a small autoencoder decode to"),
    "faces": (faces, "different people that are said to show the same face, and one person that is not"),
    "feature-diffusion": (feature_diffusion, "the trained method on digits: clusters, conditional samples, paths"),
    "features": (features, "groups that Feature Guidance steers to, and the path between two of them"),
    "growth": (growth, "time of a step of Sparse Repellency as its Memory Bank grows"),
    "index": (index, "recall, time, memory and disk of the Protected Index, against Faiss"),
    "irs": (irs, "what the metrics report for models of known diversity"),
    "modes": (modes, "known modes reached on the embedded model, with quality and fidelity"),
    "noise": (noise, "known modes reached by initial noise that is sampled as a set, and the time that it takes"),
    "pareto": (pareto, "modes against fidelity and cost on prompts that no default was tuned on, ours and others'"),
    "peers": (peers, "the same for other methods: CADS, Particle Guidance, SPARKE, DiversityBoost and more"),
    "protection": (protection, "training images that are reproduced without and with a Protected Index of them"),
    "repellency": (repellency, "time and memory of Sparse Repellency's kernel"),
    "report": (report, "what the report's numbers are worth: sets of known diversity, growth with n, speed and memory"),
    "spread": (spread, "known modes and quality when Feature Guidance spreads a batch"),
    "vendi": (vendi, "ablations of Vendi Guidance: exemplars, frequency, groups, bias and few steps"),
    "vendi-cost": (vendi_cost, "time of one step of Vendi Guidance by feature space and size of the bank"),
    "vendi-gradient": (vendi_gradient, "time and memory of the Vendi Score's gradient, against autograd"),
}
"""Modules with ``add_arguments(parser)`` and ``run(arguments) -> exit code``, and what they measure."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare every benchmark's options."""
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="{" + ",".join(BENCHMARKS) + "}")
    for name, (module, purpose) in BENCHMARKS.items():
        module.add_arguments(benchmarks.add_parser(name, help=purpose, description=purpose))


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen benchmark."""
    module, _ = BENCHMARKS[arguments.benchmark]
    return module.run(arguments)
