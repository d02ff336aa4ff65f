"""Write the tables of `docs/faults.md`: each fault, the user's view, and the backends that survive it.

    python tools/generate_fault_table.py            # runs the fault suite, and writes its outcomes: about a minute
    python tools/generate_fault_table.py --check    # runs nothing; fails if rows or columns have changed since

The backends of this repository must be installed. Rows are in `tests/faults/fault_rows.py`, columns in
`tests/faults/fault_places.py`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "tests/faults"
sys.path.insert(0, str(SUITE))

from fault_places import OWN, PLACES, Place  # noqa: E402 - found by the line above
from fault_rows import GROUPS, NOT_TRIED, ROWS, Row, rows_with_tests  # noqa: E402 - likewise

PAGE = ROOT / "docs/faults.md"
BEGIN = "<!-- written by tools/generate_fault_table.py -->\n"
END = "<!-- end of what is written -->\n"
PASSED, FAILED, ELSEWHERE = "yes", "**no**", "elsewhere"

Outcomes = dict[tuple[str, str], str]


def run_suite() -> Outcomes:
    """Run the suite; return the outcome for each row and place with tests."""
    tests: list[ET.Element] = []
    for marked in ("not ray", "ray"):  # Ray leaves threads in the process, so it gets its own
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            run = [sys.executable, "-m", "pytest", "-q", "-m", marked, f"--junitxml={report}", SUITE]
            subprocess.run(run, cwd=ROOT, check=False)
            tests += ET.parse(report).iter("testcase")  # noqa: S314 - written by pytest
    outcomes: Outcomes = {}
    for test in tests:
        found = re.match(r"test_([a-g]\d+)_\w+\[(.+)\]", test.get("name", ""))
        if found:
            place = next(place.name for place in PLACES if place.name in found[2].split("-"))
            key = found[1].upper(), place
            failed = test.find("failure") is not None or test.find("error") is not None
            outcome = FAILED if failed else NOT_TRIED if test.find("skipped") is not None else PASSED
            outcomes[key] = min(
                outcomes.get(key, outcome), outcome
            )  # of several, a failure, or else what was not tried
    return outcomes


def tables(outcomes: Outcomes | None) -> str:
    """Return the tables; without outcomes, those of a suite that passed."""
    return "\n".join(_lines(outcomes)) + "\n"


def _lines(outcomes: Outcomes | None) -> Iterator[str]:
    names = ["executor of yours" if place.name == OWN else f"`{place.name}`" for place in PLACES]
    for letter, title in GROUPS.items():
        yield f"\n### {title}\n"
        yield f"| | what happens | what you see | {' | '.join(names)} |"
        yield "|---|---|---|" + ":-:|" * len(names)
        for row in ROWS:
            if row.id.startswith(letter):
                seen = f"{row.seen} ({row.elsewhere})" if row.elsewhere else row.seen
                cells = (_cell(row, place, outcomes) for place in PLACES)
                yield f"| {row.id} | {row.fault} | {seen} | {' | '.join(cells)} |"


def _cell(row: Row, place: Place, outcomes: Outcomes | None) -> str:
    if place.lacks(row):
        return ""
    if row.id not in rows_with_tests():
        return ELSEWHERE
    return PASSED if outcomes is None else outcomes.get((row.id, place.name), FAILED)


def main(arguments: list[str] | None = None) -> int:
    """Write the tables, or check their rows and columns."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/faults.md.")
    parser.add_argument("--check", action="store_true", help="run and write nothing; fail if rows or columns differ")
    check = parser.parse_args(arguments).check
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    written, tail = rest.split(END)
    if check:
        if written.replace(f"| {FAILED} ", f"| {PASSED} ").replace(f"| {NOT_TRIED} ", f"| {PASSED} ") == tables(None):
            return 0
        sys.stderr.write(f"The tables of {PAGE} are not up to date. Write them: python tools/generate_fault_table.py\n")
        return 1
    outcomes = run_suite()
    PAGE.write_text(f"{head}{BEGIN}{tables(outcomes)}{END}{tail}", encoding="utf-8")
    return 1 if FAILED in outcomes.values() else 0


if __name__ == "__main__":
    raise SystemExit(main())
