"""Write the README's table of backends: the capabilities of each, and its score in the suite of `amltk-testing`.

    python tools/generate_backend_table.py            # runs the suites, and writes the table: about a minute
    python tools/generate_backend_table.py --check    # runs nothing; fails if the capabilities differ from the table

With `--score FILE`, the scores come from suites that were run before: `pytest --amltk-score=FILE`.

The backends of this repository must be installed. The options for the tests of each backend are in its file of the
suite: `amltk_backends/<distribution>/tests/test_conformance_<name>.py`. For batch systems, the table names the place of
their tests.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from generate_constructors import our_backends

from amltk.backend import Capabilities
from amltk.plugins import plugin_manager

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- written by tools/generate_backend_table.py -->\n"
END = "<!-- end of what is written -->\n"
# Tests of batch systems and Airflow need these systems.
ELSEWHERE = {
    **dict.fromkeys(("htcondor", "oar", "pbs", "sge", "slurm"), "`tox -e clusters`"),
    "airflow": "`tox -e airflow`",
    "ray": "`tox -e ray`",
    **dict.fromkeys(("lsf", "moab"), "a stand-in"),
}
SCORE = re.compile(r"^\| \[`(\w+)`\].*\| ([^|]+) \|$", re.MULTILINE)


def run_suites(names: list[str], score: Path) -> None:
    """Run the suites of the backends that can be tested here.

    Raises:
        CalledProcessError: A suite failed; pytest has printed which.
    """
    here = [name for name in names if name not in ELSEWHERE]
    files = [str(next(ROOT.glob(f"amltk_backends/*/tests/test_conformance_{name}.py"))) for name in here]
    subprocess.run([sys.executable, "-m", "pytest", "-q", f"--amltk-score={score}", *files], cwd=ROOT, check=True)


def scores(names: list[str], score: Path) -> dict[str, str]:
    """Return the number of passed tests of the suite for each backend."""
    found = json.loads(score.read_text(encoding="utf-8"))

    def passed(name: str) -> str:
        mine = found.get(name, {"passed": 0, "failed": 0})
        return f"{mine['passed']} of {mine['passed'] + mine['failed']}"

    return {name: ELSEWHERE.get(name) or passed(name) for name in names}


def table(scored: dict[str, str]) -> str:
    """Return the table."""
    claims = [field.name for field in fields(Capabilities)]
    lines = [
        f"| | {' | '.join(f'`{claim}`' for claim in claims)} | suite |",
        f"|---|{'---|' * (len(claims) + 1)}",
    ]
    for name, score in scored.items():
        capabilities = plugin_manager().backend(name).capabilities
        marks = " | ".join(mark(getattr(capabilities, claim)) for claim in claims)
        lines.append(f"| [`{name}`](amltk_backends/amltk-{name}/) | {marks} | {score} |")
    return "\n".join(lines) + "\n"


def mark(value: bool | tuple[str, ...]) -> str:
    """Return a capability as the text of a cell."""
    if value is True:
        return "yes"
    return ", ".join(f"`{each}`" for each in value or ())


def main(arguments: list[str] | None = None) -> int:
    """Write the table, or check its capabilities."""
    parser = argparse.ArgumentParser(description="Write the README's table of backends.")
    parser.add_argument("--check", action="store_true", help="run and write nothing; fail if the capabilities differ")
    parser.add_argument("--score", type=Path, metavar="FILE", help="run no suites; read pytest's scores from FILE")
    options = parser.parse_args(arguments)
    names = sorted(our_backends())
    before = README.read_text(encoding="utf-8")
    head, rest = before.split(BEGIN)
    written, tail = rest.split(END)
    if options.score:
        scored = scores(names, options.score)
    elif options.check:
        known = dict(SCORE.findall(written))
        scored = {name: known.get(name, "?") for name in names}
    else:
        with tempfile.TemporaryDirectory() as folder:
            run_suites(names, path := Path(folder) / "score.json")
            scored = scores(names, path)
    if written == table(scored):
        return 0
    if options.check:
        sys.stderr.write(f"The table of {README} is not up to date. Write it: python tools/generate_backend_table.py\n")
        sys.stderr.write("".join(difflib.unified_diff(written.splitlines(True), table(scored).splitlines(True))))
        return 1
    README.write_text(f"{head}{BEGIN}{table(scored)}{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
