"""The command `amltk`: lists what is installed, and tests it. Distributions add commands of their own.

Exit status: 0; 1 if `doctor` finds a fault, or the output can't be written; 2 for a wrong command line; 130 after
Ctrl-C; 143 if SIGTERM ends `doctor`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amltk.plugins.listing import Listing

_COMMANDS = {
    "backends": "where calls can run: what Scheduler.with_<name>() and with_backend(name) find",
    "plugins": "what can be attached to tasks, and what observes",
    "doctor": "whether backends work here: load, start, run a call, stop",
}

_DESCRIPTION = "List what amltk finds installed, and test whether it works."

_STYLES = {
    "ready": "green",
    "not installed": "dim",
    "broken": "bold red",
    "disabled": "yellow",
    "unavailable": "yellow",
    "ok": "green",
    "failed": "bold red",
    "left out": "dim",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, or that of the process; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            return _command_of(argv) if _is_of_a_plugin(argv) else _run(_parsed(argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        _write_to_nobody()
        return 0
    except OSError as error:
        _write_to_nobody()
        sys.stderr.write(f"amltk: error: the output can't be written: {error.strerror}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _is_of_a_plugin(argv: Sequence[str]) -> bool:
    return bool(argv) and not argv[0].startswith("-") and argv[0] not in _COMMANDS and argv[0] in _added()


def _added() -> list[str]:
    from amltk.plugins import plugin_manager

    return [name for name in plugin_manager().command_names() if name not in _COMMANDS]


def _command_of(argv: Sequence[str]) -> int:
    from amltk.exceptions import PluginError
    from amltk.plugins import plugin_manager

    try:
        command = plugin_manager().command(argv[0])
    except PluginError as error:
        sys.stderr.write(f"amltk: error: {error}\n")
        return 2
    return command(argv[1:])


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="amltk", description=_DESCRIPTION, allow_abbrev=False)
    if any(word in {"-h", "--help"} for word in argv[:1]) and (added := _added()):
        parser.epilog = f"Installed distributions add: {', '.join(added)}. `amltk NAME --help` describes them."
    parser.add_argument("--version", action="store_true", help="print the version of amltk-core")
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    listing, plugins, doctor = (
        commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False)
        for name, summary in _COMMANDS.items()
    )
    for command in (listing, plugins, doctor):
        command.add_argument("--json", action="store_true", help="print a JSON list of objects instead of a table")
    doctor.add_argument("name", nargs="?", help="of the backend; every one that is installed, if not given")
    doctor.add_argument("--no-run", action="store_true", help="only look and load: start nothing")
    doctor.add_argument(
        *("-o", "--option"),
        action="append",
        type=_option,
        default=[],
        metavar="OPTION=VALUE",
        help="what with_NAME() is given: a Python literal, or else a string; can be repeated",
    )
    doctor.add_argument(
        "--job-script", action="store_true", help="only print the script of a job, without what may be secret"
    )
    doctor.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="SECONDS", help="after how long a step has failed (30)"
    )
    word = next((word for word in argv if not word.startswith("-")), None)
    if word is not None and word not in _COMMANDS:
        parser.error(_no_command(word))
    arguments = parser.parse_args(argv)
    if arguments.command is None and not arguments.version:
        parser.error(f"a command is missing. Commands: {', '.join(_COMMANDS)}")
    if arguments.command == "doctor":
        if arguments.option and arguments.name is None:
            doctor.error("--option needs the name of the backend that has it: amltk doctor NAME --option ...")
        if arguments.job_script and (arguments.name is None or arguments.json):
            doctor.error("--job-script prints that of one backend, as it is: amltk doctor NAME --job-script")
        names = [name for name, _ in arguments.option]
        if twice := [name for name in names if names.count(name) > 1]:
            doctor.error(f"--option {twice[0]} is given more than once")
    return arguments


def _no_command(name: str) -> str:
    """Return the error for an unknown command, with a hint."""
    from amltk.checks import did_you_mean
    from amltk.plugins import plugin_manager
    from amltk.plugins.catalog import KNOWN_COMMANDS, how_to_install
    from amltk.plugins.entry_points import COMMANDS

    missing = KNOWN_COMMANDS.keys() - plugin_manager().installed(COMMANDS).keys()
    if name in missing:
        distribution = KNOWN_COMMANDS[name]
        return f"{name!r} comes with {distribution}, which is not installed. Install it: {how_to_install(distribution)}"
    available = [*_COMMANDS, *_added()]
    hint = did_you_mean(name, [*available, *missing])
    return f"there is no command {name!r}.{hint} Commands: {', '.join(available)}"


def _option(text: str) -> tuple[str, Any]:
    """Split `name=value`; the value is parsed as a Python literal, or kept as text if that fails."""
    import ast
    import warnings

    from amltk.describe import without_secrets

    name, is_there, value = text.partition("=")
    if not is_there or not name.isidentifier():
        msg = f"must be OPTION=VALUE, as in --option queue=debug, got {without_secrets(text)!r}"
        raise argparse.ArgumentTypeError(msg)
    with (
        warnings.catch_warnings(),
        contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError),
    ):
        warnings.simplefilter("ignore")  # Python's warnings about style
        return name, ast.literal_eval(value)
    return name, value


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < float("inf"):
            return seconds
    msg = f"must be a number of seconds, more than 0, got {text!r}"
    raise argparse.ArgumentTypeError(msg)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.version:
        from importlib.metadata import version

        sys.stdout.write(f"amltk-core {version('amltk-core')}\n")
        return 0
    if arguments.command == "doctor":
        return _job_script(arguments.name, dict(arguments.option)) if arguments.job_script else _doctor(arguments)
    return _list(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from amltk.plugins import listing

    with contextlib.redirect_stdout(sys.stderr):  # output of a plugin's import must not mix with ours
        if arguments.command == "backends":
            rows = [*listing.list_backends(), *listing.list_misplaced()]
        else:
            rows = listing.list_plugins()
    if arguments.json:
        _print_json([_as_object(row, with_capabilities=arguments.command == "backends") for row in rows])
        return 0
    from amltk.display import print_table

    cells = [
        (row.name, row.status, f"{row.distribution} {row.version}".strip(), row.reason or row.summary) for row in rows
    ]
    print_table(("NAME", "STATUS", "DISTRIBUTION", "ABOUT"), cells, styles=_STYLES)
    return 0


def _as_object(listing: Listing, *, with_capabilities: bool) -> dict[str, Any]:
    from dataclasses import asdict

    names = ("name", "status", "distribution", "version", "summary", "reason")
    row: dict[str, Any] = {name: getattr(listing, name) for name in names}
    if with_capabilities:
        row["capabilities"] = asdict(listing.backend.capabilities) if listing.backend is not None else None
    return row


def _doctor(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from amltk.doctor import RefusedOptionsError, examine, examine_all
    from amltk.exceptions import UnknownBackendError

    how = {"run": not arguments.no_run, "limit": arguments.timeout}
    try:
        with _ended_in_good_order():
            if arguments.name is None:
                found = examine_all(**how)
            else:
                found = [examine(arguments.name, **how, options=dict(arguments.option))]
    except (UnknownBackendError, RefusedOptionsError) as error:
        sys.stderr.write(f"amltk doctor: error: {error}\n")
        return 2
    if arguments.json:
        _print_json([{**asdict(each), "ok": each.ok} for each in found])
    elif found:
        from amltk.display import print_table

        rows = [
            (each.backend, check.name, check.status, _duration(check.seconds), check.detail)
            for each in found
            for check in each.checks
        ]
        print_table(("BACKEND", "CHECK", "STATUS", "TIME", "ABOUT"), rows, styles=_STYLES)
    else:
        sys.stdout.write("No backend is installed. `amltk backends` lists all known ones.\n")
    return 0 if all(each.ok for each in found) else 1


def _job_script(name: str, options: dict[str, Any]) -> int:
    from amltk.backend import overrides
    from amltk.describe import HIDDEN
    from amltk.exceptions import BackendError
    from amltk.plugins import plugin_manager
    from amltk.scheduling.executor_source import from_backend

    try:
        with contextlib.redirect_stdout(sys.stderr):
            backend = plugin_manager().backend(name)
            if not overrides(backend, "job_script"):
                sys.stderr.write(f"amltk doctor: error: the backend {name!r} has no job script\n")
                return 2
            from_backend(backend, (), options)
            script = backend(**options).job_script()
    except (BackendError, TypeError, ValueError) as error:
        sys.stderr.write(f"amltk doctor: error: {error}\n")
        return 2
    sys.stdout.write(script)
    if HIDDEN in script:
        sys.stderr.write(f"amltk doctor: {HIDDEN} stands for values that may be secret; the batch system gets them.\n")
    return 0


@contextlib.contextmanager
def _ended_in_good_order() -> Iterator[None]:
    """Make SIGTERM, as from `timeout 60 amltk doctor`, clean up as Ctrl-C does."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f} s"


def _print_json(value: object) -> None:
    import json

    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _write_to_nobody() -> None:
    """Redirect stdout to /dev/null, so that the interpreter's last flush does not fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
