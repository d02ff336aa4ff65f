"""The core on a Python that lacks what Windows lacks."""

from __future__ import annotations

import pytest

import amltk.doctor.process
from amltk.doctor import examine

AS_ON_WINDOWS = """
import asyncio, concurrent.futures, importlib.metadata, multiprocessing.context, os, select, selectors, signal
import subprocess, sys, tempfile  # of the standard library, which does without on Windows

try:
    import hypothesis, psutil, pytest, rich.console, rich.live  # which do so, too
except ImportError:
    pass

lacking = "waitid register_at_fork fork forkpty killpg getpgid setsid sched_getaffinity sched_setaffinity"
lacking += " pread preadv wait4"
for name in lacking.split():
    delattr(os, name)
os.process_cpu_count = os.cpu_count  # it looks for what is deleted
for name in "SIGKILL SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGXCPU SIGCHLD SIGSTOP SIGALRM alarm setitimer".split():
    delattr(signal, name)
for name in "poll epoll".split():
    delattr(select, name)
sys.modules["subprocess"]._CAN_USE_PIDFD_OPEN = False  # Python 3.15 has found out that it can
for name in "fcntl resource pwd grp termios tty".split():
    sys.modules[name] = None
"""


@pytest.fixture
def windows(site):
    (site.folder / "sitecustomize.py").write_text(AS_ON_WINDOWS)
    assert site.run("import os; print(hasattr(os, 'killpg'))") == "False\n"
    return site


def test_every_module_of_the_core_and_the_kit_can_be_imported(windows):
    printed = windows.run("""
        import importlib, os, pkgutil
        import amltk, amltk_testing
        assert not hasattr(os, "killpg")
        for package in (amltk, amltk_testing):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if "templates" not in module.name and not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
                    print(module.name)
    """)
    assert {"amltk.display.live", "amltk.doctor.probe", "amltk_testing.suite", "amltk.cli"} <= set(printed.split())


@pytest.mark.parametrize("command", ["backends", "plugins", "doctor threads", "doctor sequential", "backends --json"])
def test_the_command_line_works(windows, command):
    printed = windows.run(f"""
        from amltk.cli import main
        print("exit", main({command.split()}))
    """)
    assert printed.rstrip().endswith("exit 0")
    assert "AttributeError" not in printed


def test_a_backend_that_cannot_run_there_is_listed_with_the_reason(windows):
    printed = windows.run("""
        from amltk.plugins.listing import list_backends
        (row,) = [row for row in list_backends() if row.name == "processes"]
        print(row.status, row.reason)
    """)
    assert printed.startswith("unavailable amltk-processes runs on Linux, and this is")


def test_a_run_can_be_shown(windows):
    printed = windows.run("""
        from amltk import Scheduler
        scheduler = Scheduler.with_threads(1)
        scheduler.on_start(lambda: scheduler.submit(pow, 2, 5))
        scheduler.on_future_result(lambda _, result: print("result", result))
        print(scheduler.run(display=True).code)
    """)
    assert "result 32" in printed
    assert "Code.EXHAUSTED" in printed


def test_what_a_probe_says_is_read_where_nothing_can_wait_for_a_pipe(monkeypatch, nothing_is_left):
    monkeypatch.setattr(amltk.doctor.process, "PIPES_CAN_BE_AWAITED", False)
    found = examine("threads", run=True, limit=30)
    assert found.ok
    assert [check.name for check in found.checks][-3:] == ["start", "call", "stop"]
