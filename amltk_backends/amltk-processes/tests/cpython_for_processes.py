"""Runs a module of CPython's own tests of executors on our pool, and prints what became of each test, as JSON.

python cpython_for_processes.py test_wait Forkserver
"""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import sys
import time
import unittest
from typing import Any

from amltk_processes import ProcessPoolExecutor

PACKAGE = "test.test_concurrent_futures"
MIXINS = ["ProcessPoolForkMixin", "ProcessPoolForkserverMixin", "ProcessPoolSpawnMixin"]


class Outcomes(unittest.TestResult):
    """Prints what became of each test, as soon as it is known."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method
        self.began = time.monotonic()

    def startTest(self, test: Any) -> None:  # noqa: N802 - so it is called
        super().startTest(test)
        self.began = time.monotonic()

    def say(self, test: Any, outcome: str, error: Any = None) -> None:
        text = f"{type(error[1]).__name__}: {error[1]}" if error else ""
        kind = type(test).__name__.removeprefix(f"ProcessPool{self.method}")
        name = f"{kind}.{getattr(test, '_testMethodName', test)}"
        sys.stdout.write(json.dumps([name, outcome, text[:300], round(time.monotonic() - self.began, 2)]) + "\n")
        sys.stdout.flush()

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        self.say(test, "passed")

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.say(test, "failed", err)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.say(test, "failed", err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self.say(test, "skipped", (None, unittest.SkipTest(reason)))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.say(test, "failed", err)


def main(name: str, method: str) -> None:
    """Run the tests of one module for one start method."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    util = importlib.import_module(f"{PACKAGE}.util")
    for mixin in MIXINS:
        getattr(util, mixin).executor_type = ProcessPoolExecutor
    concurrent.futures.ProcessPoolExecutor = ProcessPoolExecutor  # type: ignore[misc, assignment]
    if hasattr(module, "assert_python_ok"):  # scripts that these tests write and run
        original = module.assert_python_ok

        def run_ours(*arguments: str, **options: Any) -> Any:
            ours = "from amltk_processes import"
            return original(*(text.replace("from concurrent.futures import", ours) for text in arguments), **options)

        module.assert_python_ok = run_ours
    from test import support

    support.use_resources = ["walltime"]
    support.verbose = 0
    suite = unittest.TestSuite()
    mixin = getattr(util, f"ProcessPool{method}Mixin")
    for tests in vars(module).values():
        if isinstance(tests, type) and issubclass(tests, unittest.TestCase) and issubclass(tests, mixin):
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(tests))
    if name == "test_init" and method != "Fork":  # the one class that is not made from a mixin: a method for each
        suite.addTest(module.FailingInitializerResourcesTest(f"test_{method.lower()}"))
    suite.run(Outcomes(method))


if __name__ == "__main__":
    main(*sys.argv[1:])
