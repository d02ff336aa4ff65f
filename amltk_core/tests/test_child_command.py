"""Processes that are told first what they take over from the program."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios

import psutil
import pytest

from amltk.descriptors import pipe, socketpair
from amltk.preparation import child_command, preparation

MODULE = """
import os
def function(data, reader, *_):
    os._exit(len(data["path"]) > 0 and os.read(reader, 9) == b"the rest!" and 7)
"""


@pytest.fixture(params=["pipe", "socket"])
def ends(request):
    if request.param == "pipe":
        reader, writer = pipe()
    else:
        reader, writer = (end.detach() for end in socketpair())
    yield reader, writer
    os.close(reader)
    os.close(writer)


def unread(descriptor: int) -> int:
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"    "))[0]


def test_a_child_waits_for_what_comes_late_also_where_descriptors_do_not_block(ends, tmp_path, monkeypatch, until):
    (tmp_path / "module_of_a_child.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    reader, writer = ends
    os.set_blocking(reader, False)
    data = preparation()
    with subprocess.Popen(child_command("module_of_a_child:function", reader), pass_fds=[reader]) as child:
        os.write(writer, data[:1])
        until(lambda: not unread(reader), 20)
        until(lambda: child.poll() is not None or psutil.Process(child.pid).status() == psutil.STATUS_SLEEPING)
        os.write(writer, data[1:])
        until(lambda: child.poll() is not None or not unread(reader), 20)
        os.write(writer, b"the rest!")
    assert child.returncode == 7


@pytest.mark.parametrize(
    ("code", "began"),
    [
        ("import amltk; os.chdir('later'); import multiprocessing.process", "."),
        ("import multiprocessing.process; os.chdir('later'); import amltk", "."),
        ("os.chdir('later'); import amltk, multiprocessing.process", "later"),
    ],
)
def test_the_program_began_where_amltk_or_multiprocessing_was_imported_first(code, began, tmp_path):
    (tmp_path / "later").mkdir()
    code = f"import os; {code}; from amltk.preparation import original_directory as began; print(began(), end='')"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True)
    assert printed == str((tmp_path / began).resolve())
