"""The plugin of pytest: `--amltk-backend`, `--amltk-score`, and the score card.

pytest loads this module in every run where `amltk-testing` is installed. It loads and does nothing until one of the two
options is given or a test of a suite has run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from amltk_testing.score import ScoreCard

pytest.register_assert_rewrite(
    *(
        f"amltk_testing.{name}"
        for name in (
            "backend_base", "backend_calls", "backend_capabilities", "backend_execution", "backend_plugin",
            "backend_runs", "backend_shutdown", "state_machine", "task_plugins",
        )
    )
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("amltk", "tests of backends and plugins of amltk")
    group.addoption(
        "--amltk-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="test this installed backend, with its default options; no test file is needed. May be given again.",
    )
    group.addoption("--amltk-score", metavar="FILE.json", help="write the score card of amltk's suites as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """See to the options: no tests of the project where a backend is to be tested and no files are named."""
    _check_score_file(config.getoption("amltk_score"))
    config.pluginmanager.register(_Reporter(config), "amltk-score")
    if config.getoption("amltk_backend") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = []


def _check_score_file(path: str | None) -> None:
    """Refuse a score file that cannot be written, before the tests run."""
    if path and (Path(path).is_dir() or not Path(path).resolve().parent.is_dir()):
        msg = f"--amltk-score={path}: there is no such folder, or it is one itself; name a file in a folder that exists"
        raise pytest.UsageError(msg)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the suites of the backends that were named."""
    names: list[str] = config.getoption("amltk_backend")
    for name in dict.fromkeys(names):
        items.extend(_suite_of(session, name))


def _suite_of(session: pytest.Session, name: str) -> Iterator[pytest.Item]:
    from amltk_testing.backends import BackendTests

    module = ModuleType(f"amltk_backend_{name}")
    module.TestBackend = type("TestBackend", (BackendTests,), {"backend": name})  # type: ignore[attr-defined]
    collector = _Suite.from_parent(session, path=Path(__file__), nodeid=f"amltk[{name}]")
    collector.shown = module
    yield from session.genitems(collector)


class _Suite(pytest.Module):
    """A module that no file is behind."""

    shown: ModuleType

    def _getobj(self) -> ModuleType:
        return self.shown


class _Reporter:
    """Feeds the score card, and shows it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.card: ScoreCard | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if any(name == "amltk" for name, _ in report.user_properties):
            if self.card is None:
                from amltk_testing.score import ScoreCard

                self.card = ScoreCard()
            self.card.take(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.card is not None:
            terminalreporter.section("amltk")
            for line in self.card.lines():
                terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        path = self.config.getoption("amltk_score")
        if path and not hasattr(self.config, "workerinput"):  # of xdist, whose controller has all reports
            Path(path).write_text((self.card.as_json() if self.card else "{}") + "\n", encoding="utf-8")
