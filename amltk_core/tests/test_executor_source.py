"""How a run ends what runs in an executor that the user has made."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from amltk import ExitState, Scheduler


class WithKillWorkers(ProcessPoolExecutor):
    """Has what the standard pool has from Python 3.14 on."""

    def terminate_workers(self):
        self._end("terminate")

    def kill_workers(self):
        self._end("kill")

    def _end(self, how):
        processes = dict(self._processes or {})
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            getattr(process, how)()


def put(path, text):
    made = path.with_suffix(".part")
    made.write_text(text)
    made.rename(path)  # whoever sees it sees all of it


def heeds_sigterm(path):
    def end(*_):
        put(path.with_suffix(".ended"), "in good order")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    put(path, str(os.getpid()))
    time.sleep(600)


def ignores_sigterm(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    put(path, str(os.getpid()))
    time.sleep(600)


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, WithKillWorkers])
@pytest.mark.parametrize("max_tasks_per_child", [None, 1])
def test_workers_of_a_standard_pool_get_sigterm_then_sigkill_and_are_gone(
    kind, max_tasks_per_child, tmp_path, lives, caplog, monkeypatch
):
    monkeypatch.setattr("amltk.scheduling.executor_source.GRACE_SECONDS", 0.5)
    context = multiprocessing.get_context("spawn")
    ended = []
    with kind(2, mp_context=context, max_tasks_per_child=max_tasks_per_child) as pool:
        scheduler = Scheduler(pool)
        scheduler.on_future_cancelled(lambda future: ended.append(future.name))
        paths = [tmp_path / "heeds", tmp_path / "ignores"]

        @scheduler.on_start
        def begin():
            for function, path in zip([heeds_sigterm, ignores_sigterm], paths, strict=True):
                scheduler.submit(function, path)
            look()

        def look():
            if all(path.exists() for path in paths):
                scheduler.stop()
            else:
                scheduler.call_later(0.02, look)

        assert scheduler.run(wait=False).code is ExitState.Code.STOPPED
        assert [lives(int(path.read_text())) for path in paths] == [False, False]
        assert (tmp_path / "heeds.ended").read_text() == "in good order"
    assert ended == ["heeds_sigterm", "ignores_sigterm"]
    assert not caplog.records


def test_a_run_imports_neither_the_standard_pool_nor_the_metadata_of_distributions():
    code = """
        import sys
        from amltk import Scheduler
        scheduler = Scheduler.with_processes(1)
        scheduler.on_start(lambda: scheduler.submit(abs, -1))
        scheduler.run()
        print([name for name in ("concurrent.futures.process", "importlib.metadata") if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
