"""Subgraphs that the editor's library offers, and ``python -m support.blueprints`` to write their files.

Run it from the tests folder. It asks the first host for its nodes and samples nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .host_checkouts import PACK
from .host_server import first_host
from .layout import folded_size
from .model_examples import APART, SAMPLE, VERSION
from .model_families import settings
from .plan import Plan, place_inside
from .subgraphs import fold
from .workflows import Workflow

FOLDER = PACK / "subgraphs"
DIFFERENT, PORTFOLIO = "Different every time", "Away from my portfolio"
CATEGORY = "diversity"


def different(object_info: Mapping[str, Any]) -> Workflow:
    """A sampler that keeps away from all that it made before."""
    plan = Plan(object_info, VERSION)
    bank = plan.put(APART, "DiversityMemoryBank", name="different every time")
    apart = plan.put(APART, "DiversitySparseRepellency", bank=bank)
    samples = plan.put(SAMPLE, "KSampler", model=apart, seed=1, **settings(20, 5.0))
    saved = plan.put(SAMPLE, "DiversityRemember", samples=samples, name="different every time")
    at = {
        name: int(node.id) for name, node in (("bank", bank), ("apart", apart), ("sampler", samples), ("saved", saved))
    }
    names = {(at["apart"], "model"): "model", (at["saved"], "model"): "model", (at["saved"], "latent"): "latent"}
    names |= {(at["sampler"], name): name for name in ("positive", "negative", "latent_image")}
    widgets = [(at["apart"], "preset")]
    widgets += [(at["sampler"], name) for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")]
    return _blueprint(
        plan,
        DIFFERENT,
        "KSampler with a memory: its images keep apart from one another and from all that it made before, even with "
        "the same seed. Another bank begins another memory.",
        widgets,
        names,
        {"bank": [(at["bank"], "name"), (at["saved"], "name")]},
    )


def portfolio(object_info: Mapping[str, Any]) -> Workflow:
    """A model that makes nothing that is too close to the images of a folder."""
    plan = Plan(object_info, VERSION)
    index = plan.put(APART, "DiversityBuildProtectedIndex", folder="portfolio", name="portfolio")
    apart = plan.put(
        SAMPLE,
        "DiversitySparseRepellency",
        protected=index,
        ensure_outside=True,
        preset="strong",
        keep_apart="bank only",
    )
    build, steered = int(index.id), int(apart.id)
    return _blueprint(
        plan,
        PORTFOLIO,
        "Keeps every image at a distance from those of a folder inside ComfyUI's input directory. Width and height are "
        "those of the images that you generate. The first run encodes the folder; later runs only what is new in it.",
        [(build, "folder"), (build, "width"), (build, "height"), (steered, "preset"), (steered, "strength")],
        {(build, "vae"): "vae", (build, "model"): "model", (steered, "model"): "model", (steered, "trace"): "trace"},
        {},
    )


def _blueprint(
    plan: Plan,
    title: str,
    description: str,
    widgets: list[tuple[int, str]],
    names: Mapping[tuple[int, str], str],
    shared: Mapping[str, list[tuple[int, str]]],
) -> Workflow:
    workflow = plan.workflow("")
    workflow["nodes"] = [node for node in workflow["nodes"] if node["type"] != "MarkdownNote"]
    inside = [int(identity) for identity in plan.graph.prompt]
    place_inside(workflow, inside)
    outer = fold(
        workflow,
        inside,
        title,
        widgets,
        names,
        shared,
        shared_type="STRING",
        description=description,
        category=CATEGORY,
    )
    outer["size"] = list(folded_size(outer))
    return {"revision": 0, **workflow}


def blueprints(object_info: Mapping[str, Any]) -> dict[str, Workflow]:
    """Every blueprint, by the name of its file."""
    return {DIFFERENT: different(object_info), PORTFOLIO: portfolio(object_info)}


def write(object_info: Mapping[str, Any]) -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for title, workflow in blueprints(object_info).items():
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{title}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write the files for the nodes of the first host."""
    with first_host() as server:
        write(server.client.object_info())


if __name__ == "__main__":
    main()
