"""The score card at the end of a run of pytest: what passed, what does not apply, what failed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PASSED, NOT_APPLICABLE, NOT_RUN, FAILED = "passed", "not applicable", "not run", "failed"
OUTCOMES = (PASSED, NOT_APPLICABLE, NOT_RUN, FAILED)


@dataclass
class Subject:
    """The outcomes for one backend or plugin.

    Attributes:
        groups: The number of tests with each outcome, by group.
        tests: The group and outcome of each test, and the reason unless it passed.
        told: Notes for its author.
    """

    groups: dict[str, Counter[str]] = field(default_factory=dict)
    tests: dict[str, dict[str, str]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @property
    def totals(self) -> Counter[str]:
        """The number of tests with each outcome."""
        return sum(self.groups.values(), Counter())

    def badge(self, name: str) -> str:
        """Return a badge as a line of Markdown."""
        totals = self.totals
        ran = totals[PASSED] + totals[FAILED] + totals[NOT_RUN]
        color = "brightgreen" if totals[PASSED] == ran else "red"
        label = f"amltk kit: {name}".replace("-", "--").replace("_", "__").replace(" ", "_")
        said = f"{totals[PASSED]} of {ran}"
        return f"![amltk kit: {name}: {said}](https://img.shields.io/badge/{label}-{said.replace(' ', '_')}-{color})"


class ScoreCard:
    """Collects the outcomes of the suites' tests from pytest's reports."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.subjects: dict[str, Subject] = {}

    def take(self, report: pytest.TestReport) -> None:
        """Take the report of one phase of a test, if it is one of a suite."""
        properties: dict[str, Any] = dict(report.user_properties)
        if "amltk" not in properties or (report.when != "call" and report.passed):
            return
        subject_name, group = properties["amltk"]
        subject = self.subjects.setdefault(subject_name, Subject())
        name = report.nodeid.partition("::")[2]  # one subject may have several classes
        outcome, why = _outcome(report)
        before = subject.tests.get(name)
        counts = subject.groups.setdefault(group, Counter())
        if before is not None:  # it passed, and then could not be torn down
            counts[before["outcome"]] -= 1
        counts[outcome] += 1
        subject.tests[name] = {"group": group, "outcome": outcome} | ({"why": why} if why else {})
        for key, text in report.user_properties:
            if key == "amltk-told" and text not in subject.told:
                subject.told.append(str(text))

    def lines(self) -> Iterator[str]:
        """Yield the score card for a terminal."""
        for name, subject in self.subjects.items():
            shown = [each for each in OUTCOMES if each != NOT_RUN or subject.totals[NOT_RUN]]
            yield ""
            yield f"{name:<28}" + "".join(f"{each:>16}" for each in shown)
            for group, counts in subject.groups.items():
                yield f"  {group:<26}" + "".join(f"{counts[each] or '-':>16}" for each in shown)
            yield f"  {'all':<26}" + "".join(f"{subject.totals[each] or '-':>16}" for each in shown)
            for reason, number in _reasons(subject).items():
                yield f"  {number:>3} {reason}"
            for text in subject.told:
                yield f"  NOTE: {text}"
            yield f"  {subject.badge(name)}"

    def as_json(self) -> str:
        """Return the score card as JSON: of each subject its totals, groups, tests, notes and badge."""
        return json.dumps(
            {
                name: {
                    **{each: subject.totals[each] for each in OUTCOMES},
                    "groups": {
                        group: {each: counts[each] for each in OUTCOMES} for group, counts in subject.groups.items()
                    },
                    "tests": subject.tests,
                    "told": subject.told,
                    "badge": subject.badge(name),
                }
                for name, subject in self.subjects.items()
            },
            indent=2,
        )


def _outcome(report: pytest.TestReport) -> tuple[str, str]:
    if report.passed:
        return PASSED, ""
    if report.skipped:
        why = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        why = why.removeprefix("Skipped: ")
        return (NOT_APPLICABLE if why.startswith(NOT_APPLICABLE) else NOT_RUN), why
    return FAILED, str(report.longrepr)


def _reasons(subject: Subject) -> Counter[str]:
    found = (test["why"] for test in subject.tests.values() if test["outcome"] in {NOT_APPLICABLE, NOT_RUN})
    return Counter(found)
