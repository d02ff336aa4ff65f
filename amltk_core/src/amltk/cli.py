"""The command `amltk`: what is installed, and why something can't be used.

Exit status: 0; 1 if the output could not be written; 2 for a command line that is wrong; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amltk.plugins import Listing

_COMMANDS = {
    "backends": "where calls can run: what Scheduler.with_<name>() and with_backend(name) find",
    "plugins": "what can be attached to tasks, and what observes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, or that of the process, and return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            _run(_parsed(argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        _write_to_nobody()
        return 0
    except OSError as error:
        _write_to_nobody()
        sys.stderr.write(f"amltk: error: the output can't be written: {error.strerror}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="amltk", description="Tell what amltk finds installed.", allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the version of amltk-core")
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"List {summary}.", allow_abbrev=False)
        command.add_argument("--json", action="store_true", help="print a JSON list of objects instead of a table")
    word = next((word for word in argv if not word.startswith("-")), None)
    if word is not None and word not in _COMMANDS:
        from amltk.checks import did_you_mean

        parser.error(f"there is no command {word!r}.{did_you_mean(word, _COMMANDS)} Commands: {', '.join(_COMMANDS)}")
    arguments = parser.parse_args(argv)
    if arguments.command is None and not arguments.version:
        parser.error(f"a command is missing. Commands: {', '.join(_COMMANDS)}")
    return arguments


def _run(arguments: argparse.Namespace) -> None:
    if arguments.version:
        from importlib.metadata import version

        sys.stdout.write(f"amltk-core {version('amltk-core')}\n")
        return
    from amltk.plugins import plugin_manager

    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints when it is imported is none of our output
        plugins = plugin_manager()
        listings = plugins.list_backends() if arguments.command == "backends" else plugins.list_plugins()
    if arguments.json:
        import json

        rows = [_as_object(listing, with_capabilities=arguments.command == "backends") for listing in listings]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        from amltk.display import print_table

        print_table(
            ("NAME", "STATUS", "DISTRIBUTION", "ABOUT"),
            [
                (row.name, row.status, f"{row.distribution} {row.version}".strip(), row.reason or row.summary)
                for row in listings
            ],
            styles={"ready": "green", "not installed": "dim", "broken": "bold red", "disabled": "yellow"},
        )


def _as_object(listing: Listing, *, with_capabilities: bool) -> dict[str, Any]:
    from dataclasses import asdict

    names = ("name", "status", "distribution", "version", "summary", "reason")
    row: dict[str, Any] = {name: getattr(listing, name) for name in names}
    if with_capabilities:
        row["capabilities"] = asdict(listing.backend.capabilities) if listing.backend is not None else None
    return row


def _write_to_nobody() -> None:
    """Let the interpreter's last flush of stdout, when it exits, go nowhere instead of failing once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
