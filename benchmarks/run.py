"""Measure the cost of the scheduler, and print a table; README.md explains it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from statistics import median
from typing import Any

from rows import ROWS, Row

from amltk.exceptions import BackendError

_HEADER = f"{'what':<52} {'at most':>8} {'median':>8}   {'min - max':<15} {'ours / against':<22} "


def measure(row: Row, pairs: int) -> dict[str, Any]:
    """Measure a row, `ours` and `base` in turns; return the measurements and the verdict."""
    ours: list[float] = []
    base: list[float] = []
    found: dict[str, Any] = {"name": row.name, "what": row.what, "unit": row.unit, "at_most": row.at_most}
    try:
        row.ours()  # to warm up
        if row.base is not None:
            row.base()
        for _ in range(pairs):
            ours.append(row.ours())
            if row.base is not None:
                base.append(row.base())
    except ImportError as error:  # libraries of a row need not be installed
        return {**found, "verdict": f"left out: {error}"}
    except (BackendError, RuntimeError) as error:
        return {**found, "verdict": f"FAILED: {error}"}
    values = [mine / its for mine, its in zip(ours, base, strict=True)] if row.divide else ours
    value = median(values)
    verdict = "" if row.at_most is None else "pass" if value <= row.at_most else "OVER"
    return {**found, "ours": ours, "base": base, "values": values, "median": value, "verdict": verdict}


def line(found: dict[str, Any]) -> str:
    """Return a row of the table."""
    head: str = f"{found['what']:<52} "
    if "values" not in found:
        return f"{head}{found['verdict']}"
    at_most = "" if found["at_most"] is None else f"{found['at_most']:.2f}"
    span = f"{min(found['values']):.2f} - {max(found['values']):.2f}"
    both = " / ".join(_amount(median(side), found["unit"]) for side in (found["ours"], found["base"]) if side)
    return f"{head}{at_most:>8} {found['median']:>8.2f}   {span:<15} {both:<22} {found['verdict']}"


def _amount(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.2f} {unit}"
    for factor, name in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {name}"
    return f"{value:.3g} s"


def machine() -> dict[str, Any]:
    """Return the conditions that affect the figures, besides our code."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def main() -> int:
    """Measure and print; return 1 if any row exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="how many times to measure each row (5)")
    parser.add_argument("--only", action="append", choices=[row.name for row in ROWS], help="measure this row only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to a file")
    options = parser.parse_args()
    if options.pairs < 1:
        parser.error(f"--pairs must be at least 1, got {options.pairs}")
    before = machine()
    print(f"Python {before['python']}, {before['cpus']} CPUs, load {before['load']}, {options.pairs} pairs")
    print(_HEADER.rstrip())
    found = []
    for row in ROWS:
        if options.only is None or row.name in options.only:
            found.append(measure(row, options.pairs))
            print(line(found[-1]), flush=True)
    after = machine()
    print(f"load afterwards {after['load']}")
    if options.json is not None:
        options.json.write_text(json.dumps({"before": before, "after": after, "rows": found}, indent=1) + "\n")
    return int(any(row["verdict"] == "OVER" or row["verdict"].startswith("FAILED") for row in found))


if __name__ == "__main__":
    sys.exit(main())
