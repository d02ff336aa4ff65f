"""What workers write to stderr: whoever looks at the terminal sees it as before, and a death brings the end of it."""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from calls_for_processes import add

from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor, _stderr


def death(fn, *args) -> WorkerDied:
    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(fn, *args).exception()
    assert isinstance(error, WorkerDied)
    return error


def test_a_death_brings_what_the_worker_and_its_children_wrote_last(capfd) -> None:
    def last_words() -> None:
        sys.stderr.write("from Python\n")
        os.write(2, b"from C\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from a child\\n')"], check=True)
        os._exit(3)

    error = death(last_words)
    assert error.stderr == "from Python\nfrom C\nfrom a child"
    assert "wrote to stderr:\n    from Python\n    from C\n    from a child" in str(error)
    assert capfd.readouterr().err == "from Python\nfrom C\nfrom a child\n"


def test_silence_is_not_mentioned() -> None:
    error = death(os._exit, 3)
    assert error.stderr == ""
    assert "stderr" not in str(error)


def test_a_segmentation_fault_shows_where(capfd) -> None:
    def deeper(depth: int) -> None:
        if depth:
            deeper(depth - 1)
        __import__("ctypes").string_at(0)

    error = death(deeper, 60)
    assert error.stderr.startswith("Fatal Python error: Segmentation fault")
    assert "in string_at" in error.stderr
    assert "in deeper" in error.stderr
    assert "in deeper" in capfd.readouterr().err


def test_it_is_bounded_and_progress_bars_are_shown_as_they_looked(capfd) -> None:
    def flood() -> None:
        for number in range(20_000):
            sys.stderr.write(f"line {number}\n")
        sys.stderr.write("x" * 10_000 + "\n")
        for percent in range(5_000):
            sys.stderr.write(f"\r{percent}%")
        os._exit(3)

    lines = death(flood).stderr.split("\n")
    assert lines == [f"line {number}" for number in range(19_982, 20_000)] + ["x" * 199 + "…", "4999%"]
    shown = capfd.readouterr().err
    assert shown.startswith("".join(f"line {number}\n" for number in range(20_000)))
    assert shown.endswith("\r4998%\r4999%")


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (b"", ""),
        (b"\n\n", ""),
        (b"one\r\ntwo\r\n", "one\ntwo"),
        (b"\xff\n", "\N{REPLACEMENT CHARACTER}"),
        (b"Fatal Python error: a\n" + b"x\n" * 30, "Fatal Python error: a" + "\nx" * 19),
        (b"before\nFatal Python error: a\nx\n", "before\nFatal Python error: a\nx"),
    ],
)
def test_last_lines(kept: bytes, text: str) -> None:
    assert _stderr.last_lines(kept) == text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"1%\r2%\r3%", b"3%"),
        (b"1%\r2%\r", b"2%\r"),
        (b"one\r\ntwo\r\r\n", b"one\r\ntwo\r\r\n"),
        (b"1%\r2%\n\r\rx\n", b"2%\nx\n"),
        (b"\r\r\n\r", b"\r\r\n\r"),
        (b"plain\n", b"plain\n"),
    ],
)
def test_what_a_line_overwrote_is_dropped(written: bytes, shown: bytes) -> None:
    assert _stderr.as_shown(written) == shown


# Each would take minutes or more in a time that grows with the square of the length.
@pytest.mark.parametrize(
    "text",
    [
        b"\r" + b"x" * 4_000_000,
        b"x" * 4_000_000 + b"\r",
        b"\r" * 4_000_000,
        b"\r" * 4_000_000 + b"\n",
        b"\n" * 4_000_000 + b"\r",
        b"x\r" * 2_000_000,
        b"\r\n" * 2_000_000,
        b"\rx" + b" \r\n" * 1_000_000,
        (b"x" * 1000 + b"\r\r\n") * 4_000,
    ],
    ids=lambda text: repr(text[:4]) + repr(text[-4:]),
)
def test_any_bytes_are_looked_at_in_a_time_that_grows_with_their_number(text: bytes) -> None:
    assert len(_stderr.as_shown(text)) <= len(text)
    assert len(_stderr.last_lines(text)) <= _stderr.LINES * (_stderr.WIDTH + 1)


@pytest.mark.parametrize("piece", [b"\r" + b"x" * 60_000, b"\r\n" * 30_000, b"x" * 60_000 + b"\r", b"\r"])
def test_a_flood_of_one_kind_holds_up_no_worker_and_no_death(piece: bytes, capfd) -> None:
    def flood() -> None:
        for _ in range(50):
            os.write(2, piece)
        os.write(2, b"\nthe end")
        os._exit(3)

    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(flood).exception(timeout=40)
        assert isinstance(error, WorkerDied)
        assert error.stderr.endswith("the end")
        assert executor.submit(add, 1).result(timeout=20) == 2


def test_pieces_of_a_progress_bar_are_put_together() -> None:
    stream = _stderr.Stream()
    try:
        for piece in (b"start\n", b"1%\r", b"2%", b"\r", b"3", b"%\n", b"one\r", b"\ntwo"):
            os.write(stream.child_end, piece)
            stream.read()
        assert stream.kept == b"start\n3%\none\r\ntwo"
    finally:
        stream.close()


SCRIPT = """
import os, sys, time
from amltk_processes import ProcessPoolExecutor
from calls_for_processes import *
sys.stdout.reconfigure(line_buffering=True)
"""


def start(script: str, *args: object, **options) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT + script, *map(str, args)], env=environment, **options)


def test_what_is_written_passes_at_once_also_without_an_end_of_line(tmp_path: Path) -> None:
    script = """
def bar():
    for percent in range(3):
        print(f"\\r{percent}%", end="", file=sys.stderr, flush=True)
        while not os.path.exists(f"{folder}/{percent}"):
            time.sleep(0.001)

folder = sys.argv[1]
with ProcessPoolExecutor(1) as executor:
    executor.submit(bar).result()
"""
    with start(script, tmp_path, stderr=subprocess.PIPE) as main:
        for percent in range(3):
            assert os.read(main.stderr.fileno(), 100) == b"\r%d%%" % percent
            (tmp_path / str(percent)).touch()
        assert main.stderr.read() == b""


def test_a_terminal_stays_a_terminal_of_the_same_size() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 77))
    script = """
def look():
    print(os.isatty(2), tuple(os.get_terminal_size(2)), file=sys.stderr)

with ProcessPoolExecutor(1) as executor:
    executor.submit(look).result()
"""
    with start(script, stderr=theirs) as main:
        os.close(theirs)
        seen = b""
        while b"\n" not in seen:
            seen += os.read(ours, 1000)
        assert seen == b"True (77, 33)\r\n"
    assert main.returncode == 0
    os.close(ours)


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_who_does_not_read_stderr_holds_up_only_those_who_write_much(kind: str) -> None:
    if kind == "pipe":
        ours, theirs = os.pipe()
    elif kind == "socket":
        ours, theirs = (end.detach() for end in socket.socketpair())
    else:
        ours, theirs = pty.openpty()
    script = """
def flood():
    for number in range(5_000):
        print("x" * 99, file=sys.stderr)

executor = ProcessPoolExecutor(2)
floods = executor.submit(flood)
for _ in range(5):
    error = executor.submit(os._exit, 3).exception()
    print(type(error).__name__)
print(floods.done())
floods.result()
executor.shutdown()
print("end")
"""
    with start(script, stderr=theirs, stdout=subprocess.PIPE) as main:
        os.close(theirs)
        for _ in range(5):
            assert main.stdout.readline() == b"WorkerDied\n"
        assert main.stdout.readline() == b"False\n"
        seen = 0
        while seen < 500_000 and (select.select([ours], [], [], 20)[0]):
            seen += os.read(ours, 1 << 16).count(b"x") * 100 // 99 + 1
        while main.poll() is None:
            if select.select([ours], [], [], 0.01)[0]:
                try:
                    seen += len(os.read(ours, 1 << 16))
                except OSError:  # the terminal's end
                    break
        assert main.stdout.readline() == b"end\n"
        assert seen >= 500_000
    os.close(ours)


def test_nothing_is_lost_and_shutdown_waits_for_it(tmp_path: Path) -> None:
    script = """
def write(number):
    sys.stderr.write(f"call {number}\\n")  # at once: print writes its parts one by one

with ProcessPoolExecutor(2) as executor:
    list(executor.map(write, range(2000)))
print("main", file=sys.stderr)
"""
    with (tmp_path / "err").open("ab") as err, start(script, stderr=err) as main:
        main.wait()
    lines = (tmp_path / "err").read_text().splitlines()
    assert lines.pop() == "main"
    assert sorted(lines, key=lambda line: int(line.split()[1])) == [f"call {number}" for number in range(2000)]


@pytest.mark.parametrize("closed", ["2>&-", "0>&- 2>&-", "0>&- 1>&- 2>&-"])
def test_without_a_stderr_of_its_own_the_main_process_still_hears(closed: str, tmp_path: Path) -> None:
    script = """
def last_words():
    os.write(2, b"from C")
    os._exit(3)

with ProcessPoolExecutor(2) as executor:
    error = executor.submit(last_words).exception()
    sum = executor.submit(add, 1, 2).result()
open(sys.argv[1], "w").write(f"{error.stderr} {sum}")
"""
    script = "import sys\nsys.stdout = sys.stdout or open('/dev/null', 'w')\n" + SCRIPT + script
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", script, str(tmp_path / "out")]
    assert subprocess.run(command, env=environment, timeout=30, check=False).returncode == 0
    assert (tmp_path / "out").read_text() == "from C 3"


def test_an_orphan_that_writes_on_holds_nothing_up(until, tmp_path: Path) -> None:
    def leave_a_writer(path: Path) -> None:
        subprocess.Popen([sys.executable, "-c", "import os\nwhile True: os.write(2, b'x' * 1000)"])
        os._exit(3)

    with ProcessPoolExecutor(1) as executor:
        began = time.monotonic()
        assert isinstance(executor.submit(leave_a_writer, tmp_path).exception(), WorkerDied)
        assert executor.submit(add, 1).result() == 2
    assert time.monotonic() - began < 20


def test_a_line_of_a_progress_bar_is_kept_once() -> None:
    stream = _stderr.Stream()
    try:
        os.write(stream.child_end, b"before\n\r1%")
        stream.read()
        for percent in range(2, 9999):
            os.write(stream.child_end, b"\r%d%%" % percent)
            stream.read()
        assert re.sub(rb"\r", b"", stream.kept) == b"before\n9998%"
    finally:
        stream.close()


def test_a_default_timeout_of_sockets_leaves_a_stderr_that_is_a_socket_as_it_was() -> None:
    script = """
import multiprocessing, socket
socket.setdefaulttimeout(30)
with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
    executor.submit(lambda: os.write(2, b"!")).result()
    print(os.get_blocking(2))
"""
    ours, theirs = socket.socketpair()
    with ours, theirs, start(script, stdout=subprocess.PIPE, stderr=theirs.fileno()) as main:
        assert main.stdout.read() == b"True\n"
        assert ours.recv(1) == b"!"
