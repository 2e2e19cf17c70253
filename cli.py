"""The command line: ``diversity-guidance demo | bench | index | bank | report``, or ``python cli.py`` beside this file.

Each command is a module with ``add_arguments(parser)`` and ``run(arguments) -> exit code``; only the chosen one is
imported, so that ``--help`` is fast and an extra is required only by the command that needs it.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

COMMANDS = {
    "demo": ("demo.run", "sample one prompt without and with guidance, on the embedded model"),
    "bench": ("benchmarks.command", "measure speed, memory and the gain in diversity"),
    "index": ("indexing.command", "build, change and look into Protected Indexes"),
    "bank": ("indexing.bank.command", "look into Memory Banks, change, clean, move and share them"),
    "report": ("metrics.command", "measure the diversity of a folder of images"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; for bad input, print a sentence and return 2."""
    from . import __version__  # Here, since a script has no package until it is made.

    _print_every_character()
    parser = argparse.ArgumentParser(prog="diversity-guidance", description="Diversity Guidance without ComfyUI.")
    parser.add_argument("--version", action="version", version=f"diversity-guidance {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if word in COMMANDS), None)
    module = None
    for name, (path, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            try:
                module = import_module(f".{path}", __package__)
            except ModuleNotFoundError as error:
                if error.name == f"{__package__}.benchmarks":
                    parser.exit(2, "The archive of the Comfy registry has no benchmarks: clone the repository.\n")
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


def _print_every_character() -> None:
    """Escape characters that a console or pipe cannot encode, such as a name in another script under cp1252."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _package() -> ModuleType:
    """Import the package around this file under its installed name, without an installation."""
    folder = Path(__file__).resolve().parent
    # Python puts a script's folder first on the path, where our `nodes` or `metrics` would shadow other modules.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != folder]
    spec = spec_from_file_location(
        "diversity_guidance", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


if __name__ == "__main__":
    sys.exit(main() if __package__ else import_module(".cli", _package().__name__).main())
