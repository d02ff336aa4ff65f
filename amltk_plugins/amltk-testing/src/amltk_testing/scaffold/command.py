"""The command `amltk new`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from amltk_testing.scaffold.names import ScaffoldError
from amltk_testing.scaffold.writing import write

_SUMMARY = "Write a distribution of your own, ready to be filled in."


def main(argv: Sequence[str]) -> int:
    """Run `amltk new ...`, and return the exit status: 0, or 2 if nothing can be written."""
    parser = argparse.ArgumentParser(prog="amltk new", description=_SUMMARY, allow_abbrev=False)
    parser.add_argument("kind", choices=("backend", "plugin"))
    parser.add_argument("name", help="name of the backend or plugin; its distribution is amltk-NAME")
    parser.add_argument("--into", type=Path, metavar="DIR", help="folder to write; ./amltk-NAME by default")
    arguments = parser.parse_args(argv)
    try:
        written = write(arguments.kind, arguments.name, arguments.into)
    except ScaffoldError as error:
        sys.stderr.write(f"amltk new: error: {error}\n")
        return 2
    sys.stdout.write(written)
    return 0
