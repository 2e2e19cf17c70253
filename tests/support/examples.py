"""The example workflows of the embedded model, and ``python -m support.examples`` to write their files from real runs.

Run it from the tests folder whenever widgets, defaults or the embedded model's weights have changed. Beginnings of
titles as arguments write those alone; ``--layout`` leaves the thumbnails as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .feature_examples import FEATURE_EXAMPLES
from .first_examples import FIRST_EXAMPLES
from .host_checkouts import PACK
from .host_client import HostClient
from .host_server import first_host
from .index_examples import INDEX_EXAMPLES
from .noise_examples import NOISE_EXAMPLES
from .report_examples import REPORT_EXAMPLES, stopped
from .sheet import Example, Picture
from .vendi_examples import VENDI_EXAMPLES
from .workflows import widget_names

FOLDER = PACK / "example_workflows"
THUMBNAIL_SIDE = 512
EXAMPLES = (
    *FIRST_EXAMPLES,
    *REPORT_EXAMPLES,
    *INDEX_EXAMPLES,
    *VENDI_EXAMPLES,
    *NOISE_EXAMPLES,
    *FEATURE_EXAMPLES,
    stopped,
)
"""The easiest first. The host lists them as its file system does, and the editor's extension by name."""


def titled(example: Example, place: int) -> str:
    """The file's stem, which is what the template browser shows."""
    return f"{place:02d} {example.title}"


def thumbnail(pictures: Sequence[Picture], columns: int = 4) -> Image.Image:
    """Pictures in rows, as one square."""
    rows = [np.concatenate(pictures[start : start + columns], axis=1) for start in range(0, len(pictures), columns)]
    return Image.fromarray(np.concatenate(rows)).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)


def write(client: HostClient, wanted: Sequence[str] = ("",), thumbnails: bool = True) -> None:
    """Write the files of all examples, or of those whose titles begin as wanted, with their thumbnails or without."""
    object_info = client.object_info()
    for place, make in enumerate(EXAMPLES, start=1):
        example = make(object_info)
        title = titled(example, place)
        if not title.startswith(tuple(wanted)):
            continue
        if thumbnails:
            thumbnail(example.draw(client)).save(FOLDER / f"{title}.jpg", quality=88)
        workflow = example.workflow()
        for node in workflow["nodes"]:
            if widget := example.counted.get(node["type"]):
                node["widgets_values"][widget_names(object_info[node["type"]]).index(widget) + 1] = "increment"
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{title}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Write the files from a run on the host that the tests use."""
    with first_host() as server:
        titles = [argument for argument in sys.argv[1:] if argument != "--layout"]
        write(server.client, titles or ("",), "--layout" not in sys.argv)


if __name__ == "__main__":
    main()
