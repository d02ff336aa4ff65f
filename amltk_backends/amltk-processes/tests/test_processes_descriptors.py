"""The pool's descriptors: above the standard ones, and no signal when a peer is gone."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

START_METHODS = ["forkserver", "spawn", "fork"]
SOME_CLOSED = [closed for n in (1, 2, 3) for closed in itertools.combinations((0, 1, 2), n)]

WITHOUT_STANDARD = """
import json, os, sys
closed, method, out = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
for fd in closed:
    os.close(fd)
import multiprocessing
from pathlib import Path
from amltk.backend import CallOptions
from amltk_processes import ProcessPoolExecutor

def write(text):
    os.write(2, text.encode())
    return [os.path.exists(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]

with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
    in_workers = executor.submit(write, "a line\\n").result()
    died = executor.submit(os._exit, 3).exception()
    again = list(executor.map(abs, range(-20, 0)))
    low = [fd for fd in closed if os.path.exists(f"/proc/self/fd/{fd}")]
    calls = [executor.submit_call(__import__("time").sleep, (60,), {}, CallOptions(timeout=0.1))]
    timed = type(calls[0].exception()).__name__
Path(out).write_text(json.dumps([in_workers, died.exit_code, again == list(range(20, 0, -1)), low, timed]))
"""


@pytest.mark.parametrize("closed", SOME_CLOSED)
def test_a_program_may_have_closed_standard_descriptors(tmp_path: Path, closed: tuple[int, ...]) -> None:
    method = START_METHODS[len(closed) % 3]
    _run_without(tmp_path, closed, method)


@pytest.mark.parametrize("method", START_METHODS)
def test_a_program_may_have_closed_all_standard_descriptors(tmp_path: Path, method: str) -> None:
    _run_without(tmp_path, (0, 1, 2), method)


def _run_without(tmp_path: Path, closed: tuple[int, ...], method: str) -> None:
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(WITHOUT_STANDARD)
    command = [sys.executable, script, json.dumps(closed), method, out]
    done = subprocess.run(command, timeout=60, stderr=subprocess.PIPE, check=True)
    assert json.loads(out.read_text()) == [[True] * 3, 3, True, [], "CallTimeoutError"]
    if 2 not in closed:
        assert done.stderr.count(b"a line\n") == 1


SIGPIPE = """
import multiprocessing, os, signal, sys, time
import psutil
from amltk_processes import ProcessPoolExecutor
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
what, method = sys.argv[1:]

def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)

with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
    executor.submit(abs, 1).result()
    (server,) = psutil.Process().children()
    (worker,) = server.children()
    if what == "large":
        worker.suspend()
        call = executor.submit(len, bytes(50 << 20))
        time.sleep(0.2)
        worker.kill()
        assert call.result() == 50 << 20  # it had not begun
    elif what == "idle":
        for _ in range(20):
            server.suspend()  # it tells of no death
            server.children()[0].kill()
            call = executor.submit(abs, 1)
            server.resume()
            call.exception()
            executor.submit(abs, 1).result()
    elif what == "server":
        server.kill()
        calls = [executor.submit(abs, 1) for _ in range(20)]
        for call in calls:
            call.exception()
    print(executor.submit(abs, -2).result())
"""


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("what", ["large", "idle", "server"])
def test_a_program_survives_deaths_where_sigpipe_has_its_default(tmp_path: Path, what: str, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SIGPIPE)
    command = [sys.executable, script, what, method]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_a_fork_server_survives_the_reader_of_stderr(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import multiprocessing, os, signal
from amltk_processes import ProcessPoolExecutor
signal.signal(signal.SIGPIPE, signal.SIG_DFL)

def write():
    for _ in range(10):
        os.write(2, b"to nobody\\n")
    return os.getppid(), signal.getsignal(signal.SIGPIPE)

with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    executor.submit(abs, 1).result()
    os.close(reader)
    first, handler = executor.submit(write).result()
    assert handler is signal.SIG_DFL
    assert executor.submit(write).result()[0] == first
""")
    done = subprocess.run([sys.executable, script], timeout=60, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
