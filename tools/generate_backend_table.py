"""Write the README's table of backends: what each claims, and how it does in the suite of `amltk.testing`.

    python tools/generate_backend_table.py            # runs the suites, and writes the table: about a minute
    python tools/generate_backend_table.py --check    # runs nothing; fails if what the table says is claimed is not

That the scores are still true, `tests/test_packaging.py` checks, for it takes as long.

The backends of this repository have to be installed. Each backend's file of the suite tells with which options it is
tested: `amltk_backends/<distribution>/tests/test_conformance_<name>.py`. For batch systems, the table says where
they are tested.
"""

from __future__ import annotations

import argparse
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
# Batch systems, and Airflow, have to be there to be tested with.
ELSEWHERE = {
    **dict.fromkeys(("htcondor", "oar", "pbs", "sge", "slurm"), "`tox -e clusters`"),
    "airflow": "`tox -e airflow`",
    **dict.fromkeys(("lsf", "moab"), "a stand-in"),
}
SCORE = re.compile(r"^\| \[`(\w+)`\].*\| ([^|]+) \|$", re.MULTILINE)


def scores(names: list[str]) -> dict[str, str]:
    """Run the suites, and return for each backend how many of its tests passed.

    Raises:
        CalledProcessError: One failed; pytest has written which.
    """
    here = [name for name in names if name not in ELSEWHERE]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "score.json"
        files = [str(next(ROOT.glob(f"amltk_backends/*/tests/test_conformance_{name}.py"))) for name in here]
        subprocess.run([sys.executable, "-m", "pytest", "-q", f"--amltk-score={path}", *files], cwd=ROOT, check=True)
        found = json.loads(path.read_text(encoding="utf-8"))
    scored = {name: f"{found[name]['passed']} of {found[name]['passed'] + found[name]['failed']}" for name in here}
    return {name: ELSEWHERE.get(name) or scored[name] for name in names}


def table(scored: dict[str, str]) -> str:
    """Return the table."""
    claims = [field.name for field in fields(Capabilities)]
    lines = [
        f"| | {' | '.join(f'`{claim}`' for claim in claims)} | suite |",
        f"|---|{'---|' * (len(claims) + 1)}",
    ]
    for name, score in scored.items():
        capabilities = plugin_manager().backend(name).capabilities
        marks = " | ".join("yes" if getattr(capabilities, claim) else "" for claim in claims)
        lines.append(f"| [`{name}`](amltk_backends/amltk-{name}/) | {marks} | {score} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the table, or check what it claims."""
    parser = argparse.ArgumentParser(description="Write the README's table of backends.")
    parser.add_argument("--check", action="store_true", help="run and write nothing; fail if the claims differ")
    check = parser.parse_args(arguments).check
    names = sorted(our_backends())
    before = README.read_text(encoding="utf-8")
    head, rest = before.split(BEGIN)
    written, tail = rest.split(END)
    known = dict(SCORE.findall(written))
    scored = {name: known.get(name, "?") for name in names} if check else scores(names)
    if written == table(scored):
        return 0
    if check:
        sys.stderr.write(f"The table of {README} is not up to date. Write it: python tools/generate_backend_table.py\n")
        return 1
    README.write_text(f"{head}{BEGIN}{table(scored)}{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
