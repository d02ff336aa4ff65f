from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

import amltk_processes
from amltk import cpus
from amltk.exceptions import AmltkError
from amltk_processes import ProcessPoolExecutor
from amltk_processes import executor as executor_module
from amltk_processes.plugin import Processes


def test_backend_and_pool_take_the_same() -> None:
    assert list(inspect.signature(Processes).parameters) == list(inspect.signature(ProcessPoolExecutor).parameters)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"max_workers": 0}, ValueError, "max_workers"),
        ({"max_workers": "2"}, TypeError, "max_workers"),
        ({"max_workers": True}, TypeError, "max_workers"),
        ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child"),
        ({"max_tasks_per_child": 1.5}, TypeError, "max_tasks_per_child"),
        ({"initializer": "f"}, TypeError, "initializer"),
        ({"initargs": [1]}, TypeError, "initargs"),
        ({"mp_context": "spawn"}, TypeError, r"multiprocessing\.get_context\('spawn'\), got 'spawn'"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(
    options: dict[str, Any], error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name):
        Processes(**options)
    with pytest.raises(error, match=name):
        ProcessPoolExecutor(**options)


def test_where_it_cannot_run_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "waitid")
    for start in (Processes().open, lambda: amltk_processes.ProcessPoolExecutor):
        with pytest.raises(ImportError, match=rf"runs on Linux, and this is {sys.platform}.*ProcessPoolExecutor\(\)"):
            start()


def test_as_many_workers_as_usable_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_MOUNTS", os.devnull)  # no quota
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 3})
    assert ProcessPoolExecutor()._dispatcher.pool.options.max_workers == 3
    monkeypatch.setenv("PYTHON_CPU_COUNT", "1")
    assert ProcessPoolExecutor()._dispatcher.pool.options.max_workers == 1


def test_importing_the_plugin_imports_nothing_that_it_need_not() -> None:
    heavy = ["cloudpickle", "psutil", "multiprocessing", "concurrent.futures.process", "amltk_processes.executor"]
    code = f"import sys, amltk_processes.plugin; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_pool_needs_no_multiprocessing() -> None:
    code = "import sys, amltk_processes as a\nwith a.ProcessPoolExecutor(1) as e: e.submit(int).result()\n"
    code += "print('multiprocessing' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_broken_pool_is_what_the_standard_one_calls_so() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with ProcessPoolExecutor(1, initializer=fail) as executor:
        error = executor.submit(int).exception()
    from concurrent.futures import BrokenExecutor, process

    assert type(error) is amltk_processes.BrokenProcessPool is executor_module.BrokenProcessPool
    for base in (process.BrokenProcessPool, BrokenExecutor, AmltkError):
        assert isinstance(error, base)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    with pytest.raises(process.BrokenProcessPool):
        raise error


def test_a_pool_breaks_without_what_names_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import BrokenExecutor

    monkeypatch.setitem(sys.modules, "amltk_processes._broken", None)
    with ProcessPoolExecutor(1, initializer=divmod, initargs=(1, 0)) as executor:
        error = executor.submit(int).exception()
        assert type(error) is BrokenExecutor
        assert isinstance(error.__cause__, ZeroDivisionError)


def test_mistyped_names_of_the_package() -> None:
    import amltk_processes

    with pytest.raises(AttributeError, match="ProcessPool"):
        amltk_processes.ProcessPool  # noqa: B018
