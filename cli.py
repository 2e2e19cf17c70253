"""The command line: ``diversity-guidance demo | bench | index | report``.

Each command is a module with ``add_arguments(parser)`` and ``run(arguments) -> exit code``; only the chosen one is
imported, so that ``--help`` answers at once and a missing extra is only missed where it is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "demo": ("demo.run", "draw the same prompt alike, then different, on the embedded model"),
    "bench": ("benchmarks.command", "measure speed, memory and the gain in diversity"),
    "index": ("indexing.command", "build, change and look into Protected Indexes"),
    "report": ("metrics.command", "measure the diversity of a folder of pictures"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input ends in a sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="diversity-guidance", description="Diversity Guidance without ComfyUI.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if word in COMMANDS), None)
    module = None
    for name, (path, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        if name == chosen:
            try:
                module = import_module(f".{path}", __package__)
            except ModuleNotFoundError as error:
                if error.name is None or error.name.startswith("diversity_guidance"):
                    raise
                parser.exit(2, f'{error.name} is not installed: pip install "diversity-guidance[demo]" brings it.\n')
            module.add_arguments(command)
    arguments = parser.parse_args(words)
    assert module is not None
    try:
        return int(module.run(arguments))
    except (ValueError, OSError) as error:
        print(f"diversity-guidance {arguments.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
