"""The command `amltk airflow`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from amltk.plugins.catalog import how_to_install

NAME = "amltk_dag.py"

_NEXT = f"""\
Airflow finds it within minutes; at once with: airflow dags reserialize
Airflow's workers need
  - {how_to_install("amltk-airflow", elsewhere=True)}, in the versions of the program that uses it
  - the program's key, in AMLTK_AIRFLOW_KEY, or in a file whose path is in AMLTK_AIRFLOW_KEY_FILE
Then check the whole setup, on the machine of the program:
  amltk doctor airflow -o url=http://HOST:8080 -o store=file:///SHARED/FOLDER
"""


class _RefusedError(Exception):
    """The DAG can't be written there; the text tells why."""


def main(argv: Sequence[str]) -> int:
    """Run `amltk airflow ...`; return the exit status."""
    parser = argparse.ArgumentParser(prog="amltk airflow", description="Set up Airflow for the backend airflow.")
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands", required=True)
    summary = "put the DAG that runs calls of amltk into Airflow's folder of DAGs"
    install = commands.add_parser("install-dag", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    install.add_argument(
        "folder", type=Path, metavar="DIR", help="the folder, as `airflow config get-value core dags_folder` prints it"
    )
    try:
        arguments = parser.parse_args(argv)
        sys.stdout.write(f"{_install(arguments.folder)}\n{_NEXT}")
    except _RefusedError as error:
        sys.stderr.write(f"amltk airflow install-dag: error: {error}\n")
        return 2
    return 0


def _install(folder: Path) -> str:
    text = (files("amltk_airflow") / "dags" / NAME).read_text(encoding="utf-8")
    path = folder / NAME
    if not folder.is_dir():
        msg = f"there is no folder {folder}; this command prints Airflow's: airflow config get-value core dags_folder"
        raise _RefusedError(msg)
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before == text:
            return f"{path} is there already, as it should be."
        if before is not None and before.partition("\n")[0] != text.partition("\n")[0]:
            msg = f"{path} exists, and this command has not written it: move it away first"
            raise _RefusedError(msg)
        _write(path, text)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} can't be written: {error}"
        raise _RefusedError(msg) from error
    return f"{path} {'is written.' if before is None else 'replaces one of another version.'}"


def _write(path: Path, text: str) -> None:
    """Write a file completely or not at all: Airflow may read it at any time."""
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
