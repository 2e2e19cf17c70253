"""A workflow file in the making: nodes that know their frame, and which of them are folded into subgraphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .graphs import Graph, Node
from .layout import folded_size, full_size, in_frames, note_size
from .model_families import File
from .subgraphs import fold
from .workflows import Workflow, inputs_of, to_workflow

READ = "Read me"
"""Where the note stands; it has no frame."""


@dataclass(frozen=True)
class Fold:
    """Nodes that are shown as one.

    Attributes:
        title: of the node that stands for them.
        nodes: what goes inside.
        widgets: those that the outer node shows.
        names: what the outer node calls an inner input or output.
        shared: widgets that are one of the outer node, by its name.
    """

    title: str
    nodes: Sequence[Node]
    widgets: Sequence[tuple[Node, str]] = ()
    names: Mapping[tuple[Node, str], str] = field(default_factory=dict)
    shared: Mapping[str, Sequence[tuple[Node, str]]] = field(default_factory=dict)


@dataclass
class Plan:
    """A graph whose nodes know where they stand and the files that they load.

    Attributes:
        object_info: what the host knows of its nodes.
        version: of the host that core's nodes are those of.
    """

    object_info: Mapping[str, Any]
    version: str
    graph: Graph = field(default_factory=Graph)
    stacks: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    files: dict[str, list[File]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def put(
        self,
        frame: str,
        kind: str,
        files: Sequence[File] = (),
        *,
        called: str = "",
        stack: int = 0,
        size: tuple[int, int] | None = None,
        **inputs: Any,
    ) -> Node:
        """Add a node with the host's defaults for the inputs that are not given.

        Args:
            frame: the title of the frame that it stands in.
            kind: its type.
            files: what it loads.
            called: its title, where that is not its type's.
            stack: which of the frame's stacks, from the left.
            size: where it is not the one that was measured.
            inputs: as in `Graph.add`.
        """
        known = inputs_of(self.object_info[kind])
        defaults = {name: options["default"] for name, _, options in known if "default" in options}
        node = self.graph.add(kind, **{**defaults, **inputs})
        self.stacks.setdefault((frame, stack), []).append(int(node.id))
        self.files[node.id] = list(files)
        self.titles[node.id] = called
        if size is not None:
            self.sizes[node.id] = size
        return node

    def workflow(self, note: str) -> Workflow:
        """The graph as a file, with sizes but without places."""
        nowhere = dict.fromkeys([*self.graph.prompt, "note"], (0, 0, 0, 0))
        made = to_workflow(self.graph.prompt, self.object_info, nowhere, note)
        for node in made["nodes"]:
            if node["type"] == "MarkdownNote":
                node["size"] = list(note_size(note))
                self.stacks = {(READ, 0): [node["id"]], **self.stacks}
                node["properties"]["ver"] = self.version
                continue
            identity = str(node["id"])
            node["size"] = list(self.sizes.get(identity) or full_size(node, self.object_info[node["type"]]))
            if node["properties"]["cnr_id"] == "comfy-core":
                node["properties"]["ver"] = self.version
            if self.files[identity]:
                node["properties"]["models"] = [file.entry for file in self.files[identity]]
            if self.titles[identity]:
                node["title"] = self.titles[identity]
        made["extra"] = {"workflowRendererVersion": "LG"}
        return made

    def arranged(
        self,
        note: str,
        folds: Sequence[Fold],
        colours: Mapping[str, str],
        bands: Sequence[Sequence[str]],
        level: Sequence[str] = (),
    ) -> Workflow:
        """The finished file.

        Args:
            note: what stands beside the graph.
            folds: what is folded; the node that stands for it takes the place of the first node inside.
            colours: of each frame.
            bands: titles of frames that stand below one another, from the left; those without nodes are left out.
            level: frames whose last nodes stand beside one another.
        """
        workflow = self.workflow(note)
        stands_for: dict[int, int] = {}
        for made in folds:
            inside = [int(node.id) for node in made.nodes]
            place_inside(workflow, inside)
            outer = fold(
                workflow,
                inside,
                made.title,
                [(int(node.id), name) for node, name in made.widgets],
                {(int(node.id), name): called for (node, name), called in made.names.items()},
                {name: [(int(node.id), widget) for node, widget in those] for name, those in made.shared.items()},
            )
            outer["size"] = list(folded_size(outer, sum(self._is_text(*widget) for widget in made.widgets)))
            stands_for[inside[0]] = outer["id"]
        nodes = {node["id"]: node for node in workflow["nodes"]}
        frames: dict[str, list[list[dict[str, Any]]]] = {}
        for (title, _), ids in sorted(self.stacks.items(), key=lambda item: item[0][1]):
            shown = [nodes[place] for identity in ids if (place := stands_for.get(identity, identity)) in nodes]
            if shown:
                frames.setdefault(title, []).append(shown)
        placed = [{title: frames[title] for title in band if title in frames} for band in bands]
        workflow["groups"] = in_frames([band for band in placed if band], colours, level)
        return workflow

    def _is_text(self, node: Node, widget: str) -> bool:
        known = inputs_of(self.object_info[self.graph.prompt[node.id]["class_type"]])
        return any(name == widget and options.get("multiline") for name, _, options in known)


def place_inside(workflow: Workflow, ids: Sequence[int]) -> None:
    """One below another in two stacks, those without inputs of the first on the left."""
    inner = [node for node in workflow["nodes"] if node["id"] in ids]
    left = [node for node in inner if all(socket["link"] is None for socket in node["inputs"])]
    stacks = [left, [node for node in inner if node not in left]]
    in_frames([{"": [stack for stack in stacks if stack]}], {})
