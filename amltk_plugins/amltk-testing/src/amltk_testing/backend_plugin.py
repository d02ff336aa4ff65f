"""Tests of the plugin: it loads, accepts the options, opens an executor, and imports little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import ClassVar

from amltk.plugins.entry_points import BACKENDS
from amltk_testing.backend_base import (
    BackendSuite,
    check_background,
    check_calls,
    check_loads,
    check_opens,
    check_options,
)
from amltk_testing.suite import fail, not_applicable

_IMPORT = """
import json, sys
import amltk.plugins.loading, amltk.checks, amltk.remote
before = {*sys.modules, "__mp_main__"}  # multiprocessing makes that
__import__(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)))
"""


class Plugin(BackendSuite):
    """The class of the backend. All other tests build on the first five."""

    group: ClassVar[str] = "plugin"

    def test_the_plugin_loads(self) -> None:
        """The entry point is found, its module is imported and has the class of the backend."""
        check_loads(type(self))

    def test_the_options_are_accepted(self) -> None:
        """What the tests make executors with is accepted when a scheduler is made."""
        check_options(type(self))

    def test_open_returns_an_executor(self) -> None:
        """`open` returns a `concurrent.futures.Executor`."""
        check_opens(type(self))

    def test_a_call_returns_its_result(self) -> None:
        """`submit` returns a future, which is resolved with what the function returns."""
        check_calls(type(self))

    def test_submit_comes_back_before_the_call_has_ended(self) -> None:
        """`blocks_the_run`, if not claimed: what `submit` started goes on while the caller does something else."""
        if not check_background(type(self)):
            self.tell("blocks_the_run: take it back, submit comes back before the call has ended")

    def test_importing_the_plugin_is_light(self) -> None:
        """The module of the entry point imports no other distribution: listing backends must stay cheap and safe."""
        found = list(entry_points(group=BACKENDS, name=self.backend))
        if not found:
            not_applicable("the backend was registered by the program, no entry point leads to it")
        module = found[0].module
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT, module],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            timeout=max(30, self.seconds),  # whatever the backend does, Python itself takes long on a busy machine
            check=False,
        )
        if done.returncode:
            fail(f"{module} can't be imported in a fresh process:\n{done.stderr}")
        heavy = set(json.loads(done.stdout.splitlines()[-1])) - {module.partition(".")[0], "amltk", *self.shares}
        if heavy:
            fail(f"importing {module} also imports {', '.join(sorted(heavy))}; import that in open instead")
