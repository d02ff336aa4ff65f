"""A worker is what a child of `multiprocessing` is: it knows what the program does, and who that is."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest

from amltk import Scheduler
from amltk.backend import CallOptions
from amltk_processes import BrokenProcessPool, ProcessPoolExecutor

pytestmark = pytest.mark.usefixtures("tracker_of_the_program")

METHODS = ["forkserver", "spawn", "fork"]
each_method = pytest.mark.parametrize("method", METHODS)


def pool(method: str, max_workers: int = 1, **options: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers, mp_context=multiprocessing.get_context(method), **options)


def run_script(folder: Path, code: str, *arguments: str, **environ: str) -> str:
    script = folder / "program.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def long_path(tmp_path: Path) -> Iterator[None]:
    before = list(sys.path)
    (tmp_path / "module_of_the_last_folder.py").write_text("value = 42")
    sys.path += [f"{tmp_path}/{'x' * 200}-{number}" for number in range(25_000)]  # 5 MB
    sys.path.append(str(tmp_path))
    yield
    sys.path[:] = before


def value_of_the_last_folder() -> int:
    import module_of_the_last_folder  # type: ignore[import-not-found]

    return module_of_the_last_folder.value


def attach(name: str) -> int:
    memory = SharedMemory(name)
    try:
        return memory.buf[0]
    finally:
        memory.close()


def create(value: int) -> str:
    memory = SharedMemory(create=True, size=10)
    memory.buf[0] = value
    memory.close()
    return memory.name


@each_method
class TestSharedMemory:
    def test_made_before_the_pool(self, method: str) -> None:
        memory = SharedMemory(create=True, size=10)
        memory.buf[0] = 42
        try:
            for _ in range(2):
                with pool(method, max_tasks_per_child=1) as executor:
                    assert [executor.submit(attach, memory.name).result() for _ in range(2)] == [42, 42]
        finally:
            memory.close()
            memory.unlink()

    def test_made_while_the_tracker_runs_only_since_the_workers_are_there(self, method: str, tmp_path: Path) -> None:
        code = """
        import multiprocessing, sys
        from amltk_processes import ProcessPoolExecutor
        def attach(name):
            from multiprocessing.shared_memory import SharedMemory
            memory = SharedMemory(name)
            value = memory.buf[0]
            memory.close()
            return value
        context = multiprocessing.get_context(sys.argv[1])
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            executor.submit(int).result()
            assert "multiprocessing.resource_tracker" not in sys.modules
            from multiprocessing.shared_memory import SharedMemory
            memory = SharedMemory(create=True, size=10)
            memory.buf[0] = 42
            assert executor.submit(attach, memory.name).result() == 42
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            print(executor.submit(attach, memory.name).result())
        memory.close()
        memory.unlink()
        """
        assert run_script(tmp_path, code, method) == "42\n"

    def test_made_by_a_worker(self, method: str, tmp_path: Path) -> None:
        code = """
        import multiprocessing, sys
        from amltk_processes import ProcessPoolExecutor
        def create():
            from multiprocessing.shared_memory import SharedMemory
            memory = SharedMemory(create=True, size=10)
            memory.buf[0] = 42
            memory.close()
            return memory.name
        def attach(name):
            from multiprocessing.shared_memory import SharedMemory
            memory = SharedMemory(name)
            value = memory.buf[0]
            memory.close()
            return value
        context = multiprocessing.get_context(sys.argv[1])
        with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as executor:
            name = executor.submit(create).result()
            assert executor.submit(attach, name).result() == 42
        from multiprocessing.shared_memory import SharedMemory
        memory = SharedMemory(name)
        print(memory.buf[0])
        memory.close()
        memory.unlink()
        """
        assert run_script(tmp_path, code, method) == "42\n"

    def test_what_a_worker_leaves_is_removed_with_the_program(self, method: str, tmp_path: Path) -> None:
        code = """
        import multiprocessing, sys
        from amltk_processes import ProcessPoolExecutor
        def create():
            from multiprocessing.shared_memory import SharedMemory
            memory = SharedMemory(create=True, size=10)
            memory.close()
            return memory.name
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1])) as executor:
            print(executor.submit(create).result())
        """
        (tmp_path / "program.py").write_text(textwrap.dedent(code))
        command = [sys.executable, tmp_path / "program.py", method]
        # The tracker has the program's stderr, so this waits for its end.
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert "1 leaked shared_memory objects" in done.stderr
        with pytest.raises(FileNotFoundError):
            SharedMemory(done.stdout.strip())

    def test_of_no_use_it_starts_nothing(self, method: str, tmp_path: Path) -> None:
        code = """
        import multiprocessing, sys, psutil
        from amltk_processes import ProcessPoolExecutor
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1])) as executor:
            executor.submit(int).result()
        print(psutil.Process().children(recursive=True), "multiprocessing.resource_tracker" in sys.modules)
        """
        assert run_script(tmp_path, code, method) == "[] False\n"


@each_method
def test_the_tracker_is_the_programs_in_children_of_a_worker(method: str) -> None:
    def tracker_of_a_child() -> int:
        context = multiprocessing.get_context("spawn")
        memory = SharedMemory(create=True, size=10)
        child = context.Process(target=SharedMemory(memory.name).close)
        child.start()
        child.join()
        memory.buf[0] = 42
        value = attach(memory.name)
        memory.close()
        memory.unlink()
        return value

    with pool(method) as executor:
        assert executor.submit(tracker_of_a_child).result() == 42


def of_the_process() -> tuple[Any, ...]:
    parent = multiprocessing.parent_process()
    assert parent is not None
    process = multiprocessing.current_process()
    return (
        sys.argv,
        multiprocessing.get_start_method(allow_none=True),
        process.name,
        process.daemon,
        (parent.pid, parent.name, parent.is_alive()),
        sys.getrecursionlimit(),
        bytes(process.authkey),
    )


@each_method
def test_what_it_knows_of_the_program(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program.py", "--seed", "3"])
    limit, start_method = sys.getrecursionlimit(), multiprocessing.get_start_method(allow_none=True)
    sys.setrecursionlimit(limit + 1234)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        with pool(method) as executor:
            pid = executor.submit(os.getpid).result()
            found = executor.submit(of_the_process).result()
    finally:
        sys.setrecursionlimit(limit)
        multiprocessing.set_start_method(start_method, force=True)
    key = bytes(multiprocessing.current_process().authkey)
    program = os.getpid(), multiprocessing.current_process().name, True
    assert found == (["program.py", "--seed", "3"], "spawn", f"worker-{pid}", False, program, limit + 1234, key)


@each_method
def test_workers_have_numbers(method: str) -> None:
    def number() -> tuple[int, ...]:
        return multiprocessing.current_process()._identity  # type: ignore[attr-defined]

    with pool(method, max_tasks_per_child=1) as executor:
        assert [executor.submit(number).result() for _ in range(3)] == [(1,), (2,), (3,)]


@each_method
def test_what_multiprocessing_learns_only_in_the_call(method: str, tmp_path: Path) -> None:
    code = """
    import sys
    from amltk_processes import ProcessPoolExecutor
    class Context:
        pass
    def known():
        import multiprocessing
        process = multiprocessing.current_process()
        return process.name.split("-")[0], multiprocessing.parent_process().pid, process.authkey.hex()
    executor = ProcessPoolExecutor(1)
    assert "multiprocessing" not in sys.modules
    with executor:
        name, parent, key = executor.submit(known).result()
        if sys.argv[1] != "forkserver":
            import multiprocessing
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1])) as other:
                name, parent, key = other.submit(known).result()
    import multiprocessing, os
    print(name, parent == os.getpid(), key == multiprocessing.current_process().authkey.hex())
    """
    assert run_script(tmp_path, code, method) == "worker True True\n"


def twice(number: int) -> int:
    return 2 * number


def nested(method: str) -> list[int]:
    from concurrent.futures import ProcessPoolExecutor as StandardExecutor

    context = multiprocessing.get_context(method)
    found = []
    with context.Pool(1) as workers:
        found += workers.map(twice, [1])
    with StandardExecutor(1, mp_context=context) as executor:
        found += executor.map(twice, [2])
    process = context.Process(target=twice, args=(3,))
    process.start()
    process.join()
    found.append(process.exitcode or 0)
    with pool(method) as ours:
        found += ours.map(twice, [4])
    scheduler = Scheduler.with_processes(1, mp_context=context)
    scheduler.on_start(lambda: scheduler.submit(twice, 5).add_done_callback(lambda done: found.append(done.result())))
    scheduler.run()
    return found


@each_method
@pytest.mark.parametrize("inner", METHODS)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_calls_may_have_processes_of_their_own(method: str, inner: str) -> None:
    with pool(method) as executor:
        assert executor.submit(nested, inner).result() == [2, 4, 0, 8, 10]


@each_method
def test_a_path_of_any_size(method: str, long_path: None) -> None:
    with pool(method) as executor:
        assert executor.submit(value_of_the_last_folder).result() == 42


@each_method
@pytest.mark.parametrize("entry", ["", "lib"])
def test_a_relative_path_means_what_it_meant_when_the_program_began(method: str, entry: str, tmp_path: Path) -> None:
    for folder in ("", "lib", "data", "data/lib"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / entry / "first.py").write_text("def value():\n    return 1\n")
    (tmp_path / "data" / entry / "second.py").write_text("def value():\n    return 2\n")
    code = f"""
    import os, sys
    sys.path[0] = {entry!r}
    from amltk import Scheduler
    import first as module
    os.chdir("data")
    if not sys.path[0]:  # Python remembers the folder of any other
        import second as module
        import first
    import multiprocessing
    scheduler = Scheduler.with_processes(1, mp_context=multiprocessing.get_context(sys.argv[1]))
    @scheduler.on_start
    def begin():
        for name in "first", module.__name__:
            scheduler.submit(sys.modules[name].value).add_done_callback(lambda done: print(done.result()))
    scheduler.run()
    """
    assert run_script(tmp_path, code, method) == ("1\n1\n" if entry else "1\n2\n")


class TestTheInterpreter:
    def test_it_is_the_one_that_multiprocessing_is_told(self, tmp_path: Path) -> None:
        code = """
        import multiprocessing, sys
        from amltk_processes import ProcessPoolExecutor
        python, host = sys.executable, sys.argv[1]
        for executable in host, "", None:
            sys.executable = executable
            multiprocessing.set_executable(python)
            for method in "forkserver", "spawn":
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
                    print(executor.submit(int).result())
        """
        host = tmp_path / "host"
        host.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        host.chmod(0o755)
        assert run_script(tmp_path, code, str(host)) == "0\n" * 6
        assert not (tmp_path / "started").exists()

    @pytest.mark.parametrize("method", ["forkserver", "spawn"])
    @pytest.mark.parametrize("executable", [None, "", "/opt/blender/blender"])
    def test_without_one_the_error_says_what_to_set(
        self, method: str, executable: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(multiprocessing.spawn, "_python_exe", executable)
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(RuntimeError, match=r"sys\.executable is .*multiprocessing\.set_executable\("):
            pool(method)

    def test_a_frozen_program_starts_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        with pytest.raises(RuntimeError, match=r"frozen .*multiprocessing\.set_executable\("):
            Scheduler.with_processes(1).run()
        with pool("fork") as executor:  # which starts no interpreter
            assert executor.submit(twice, 2).result() == 4

    def test_what_ends_at_once_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(multiprocessing.spawn, "_python_exe", "/bin/true")
        with pool("forkserver") as executor, pytest.raises(BrokenProcessPool, match="/bin/true"):
            executor.submit(int).result()


class OursWarning(UserWarning):
    pass


def warn(category: type[Warning]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("mine", category, stacklevel=1)
    return [str(each.message) for each in caught]


@each_method
class TestWarnings:
    def test_filters(self, method: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pool(method) as executor:
                assert executor.submit(warn, UserWarning).result() == []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pool(method) as executor:
                assert isinstance(executor.submit(warn, UserWarning).exception(), UserWarning)

    def test_filters_of_a_message_and_of_a_class_of_ones_own(self, method: str) -> None:
        class Local(UserWarning):
            pass

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", message=re.escape("MINE"), category=OursWarning)
            warnings.filterwarnings("error", category=Local)
            if method != "fork":  # what no filter should be is left out
                warnings.filters.insert(0, ("error", None, Warning, re.compile(rb"x"), 0))  # type: ignore[attr-defined]
            with pool(method) as executor:
                assert executor.submit(warn, OursWarning).result() == []
                assert executor.submit(warn, UserWarning).result() == ["mine"]
                assert type(executor.submit(warn, Local).exception()) is Local

    def test_a_filter_imports_no_module(self, method: str, tmp_path: Path) -> None:
        if method == "fork":
            pytest.skip("it has all modules of the program")
        (tmp_path / "large_library.py").write_text("class LargeWarning(UserWarning): pass")
        code = """
        import sys, warnings, multiprocessing
        from large_library import LargeWarning
        from amltk_processes import ProcessPoolExecutor
        warnings.simplefilter("error", LargeWarning)
        del sys.modules["large_library"]
        def warn():
            seen = "large_library" in sys.modules
            from large_library import LargeWarning
            try:
                warnings.warn("mine", LargeWarning)
            except LargeWarning:
                return seen, "raised"
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1])) as executor:
            print(executor.submit(warn).result())
        """
        assert run_script(tmp_path, code, method) == "(False, 'raised')\n"


@each_method
def test_names_of_levels(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "_levelToName", dict(logging._levelToName))
    monkeypatch.setattr(logging, "_nameToLevel", dict(logging._nameToLevel))
    logging.addLevelName(15, "VERBOSE")
    with pool(method) as executor:
        assert executor.submit(logging.getLevelName, 15).result() == "VERBOSE"
        assert executor.submit(logging.getLevelName, "WARNING").result() == logging.WARNING
        assert executor.submit(logging.getLevelName, 30).result() == "WARNING"


@each_method
class TestNumericalThreads:
    VARIABLES = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA", "NUMEXPR")

    @pytest.fixture(autouse=True)
    def eight_processors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("amltk_processes.executor.cpu_count", lambda: 8)
        for name in self.VARIABLES:
            monkeypatch.delenv(f"{name}_NUM_THREADS", raising=False)
        monkeypatch.delenv("VECLIB_MAXIMUM_THREADS", raising=False)

    def seen(self, method: str, max_workers: int | None) -> dict[str, str | None]:
        def look(names: tuple[str, ...]) -> dict[str, str | None]:
            return {name: os.environ.get(f"{name}_NUM_THREADS") for name in names}

        with ProcessPoolExecutor(max_workers, mp_context=multiprocessing.get_context(method)) as executor:
            return executor.submit(look, self.VARIABLES).result()

    @pytest.mark.parametrize(("max_workers", "threads"), [(2, "4"), (3, "2"), (100, "1"), (None, "1")])
    def test_processors_are_shared(self, method: str, max_workers: int | None, threads: str) -> None:
        assert self.seen(method, max_workers) == dict.fromkeys(self.VARIABLES, threads)
        assert "OMP_NUM_THREADS" not in os.environ

    def test_the_environment_is_asked_first(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MKL_NUM_THREADS", "7")
        assert self.seen(method, 2) == {**dict.fromkeys(self.VARIABLES, "4"), "MKL": "7"}
        monkeypatch.setenv("OMP_NUM_THREADS", "5")  # which OpenBLAS, BLIS and numexpr follow
        unset = {"OPENBLAS": None, "BLIS": None, "NUMEXPR": None}
        assert self.seen(method, 2) == {"OMP": "5", "MKL": "7", "NUMBA": "4", **unset}


def has_module(name: str) -> bool:
    return name in sys.modules


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    note = f"import os\nwith open({str(tmp_path / 'imports')!r}, 'a') as file: print(os.getpid(), file=file)\n"
    (tmp_path / "preloaded.py").write_text(note)
    (tmp_path / "slow_to_load.py").write_text(f"{note}import time\ntime.sleep(600)\n")
    (tmp_path / "raises_value_error.py").write_text("raise ValueError('no good')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@each_method
class TestPreload:
    def test_modules_are_there_before_the_first_call(self, method: str, modules: Path) -> None:
        with pool(method, max_tasks_per_child=1, preload=["preloaded", "xml.dom"]) as executor:
            calls: list[Future[bool]] = [executor.submit(has_module, name) for name in ("preloaded", "xml.dom")]
            assert [call.result() for call in calls] == [True, True]
        imports = len((modules / "imports").read_text().splitlines())
        assert imports == (2 if method == "spawn" else 1)
        assert not has_module("preloaded")

    def test_no_time_limit_has_to_include_it(self, method: str, modules: Path) -> None:
        (modules / "takes_a_while.py").write_text("import time\ntime.sleep(1)\n")
        with pool(method, preload=["takes_a_while"]) as executor:
            # What takes no import itself.
            expression = "'takes_a_while' in __import__('sys').modules"
            assert executor.submit_call(eval, (expression,), {}, CallOptions(timeout=0.5)).result()

    @pytest.mark.parametrize(
        ("name", "kind", "text"),
        [
            ("no_such_module", ModuleNotFoundError, r"no_such_module.*preload=\['xml.dom', 'no_such_module'\]"),
            ("raises_value_error", ValueError, "no good"),
        ],
    )
    def test_what_cannot_be_imported_fails_the_run(
        self, method: str, name: str, kind: type[Exception], text: str, modules: Path
    ) -> None:
        context = multiprocessing.get_context(method)
        scheduler = Scheduler.with_processes(1, mp_context=context, preload=["xml.dom", name])
        scheduler.on_start(lambda: scheduler.submit(int))
        with pytest.raises(Exception) as raised:  # noqa: PT011 - what is in it is looked at
            scheduler.run()
        causes = [raised.value, *getattr(raised.value, "exceptions", ())]
        causes += [cause for each in causes if (cause := each.__cause__)]
        found = next(each for each in causes if isinstance(each, kind))
        assert re.search(text, str(found))
        assert "preload" in f"{found} {getattr(found, '__notes__', '')}"

    def test_the_initializer_comes_after(self, method: str, modules: Path) -> None:
        def begin() -> None:
            os.environ["PRELOADED"] = str(has_module("preloaded"))

        with pool(method, initializer=begin, preload=["preloaded"]) as executor:
            assert executor.submit(os.getenv, "PRELOADED").result() == "True"

    def test_a_pool_ends_while_modules_are_imported(self, method: str, modules: Path, until, lives) -> None:
        executor = pool(method, preload=["slow_to_load"])
        call = executor.submit(int)
        until(lambda: (modules / "imports").exists() and (modules / "imports").read_text().endswith("\n"))
        (pid,) = {int(line) for line in (modules / "imports").read_text().split()}
        stopper = threading.Thread(target=executor.kill_workers)
        stopper.start()
        stopper.join(timeout=6)  # the server itself has more than that
        assert not stopper.is_alive()
        assert call.done()
        assert not lives(pid)


@pytest.mark.parametrize(("preload", "kind"), [("sklearn", TypeError), ([1], ValueError), (["a b"], ValueError)])
def test_what_is_no_list_of_modules(preload: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="preload must "):
        ProcessPoolExecutor(1, preload=preload)


def test_the_tracker_of_a_fork_is_the_programs() -> None:
    with pool("fork") as executor:
        name = executor.submit(create, 42).result()
    memory = SharedMemory(name)
    assert memory.buf[0] == 42
    memory.close()
    memory.unlink()
