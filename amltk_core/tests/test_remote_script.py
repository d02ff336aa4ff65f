"""Globals of a script in a worker: versions decide, in whatever order pickles arrive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cloudpickle")

PROGRAM = """
import pickle, subprocess, sys
from amltk import remote

value = 1
data = [1]

def get():
    return value

def add():
    global value
    value += 10
    return value

def grow():
    data.append(0)
    return len(data)

def size():
    return len(data)

def dump(function):
    return pickle.dumps(remote.dumps(function)).hex()

old = dump(get)
adds = dump(add)
again = dump(get)
value = 5
new = dump(lambda: value)
grows, sizes = dump(grow), dump(size)
data.append(7)
data_changed = dump(lambda: len(data))
orders = [adds, old, again, old], [old, new, old], [new, old, adds]
for order in (*orders, [grows, grows, sizes], [grows, data_changed, sizes]):
    print(subprocess.run([sys.executable, "-c", WORKER, *order], capture_output=True, text=True, check=True).stdout)
"""
WORKER = """
import pickle, sys
from amltk import remote
print(*[remote.loads(pickle.loads(bytes.fromhex(each)))() for each in sys.argv[1:]])
"""


def test_a_worker_keeps_its_changes_until_the_program_has_newer_ones(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(f"WORKER = {WORKER!r}\n{PROGRAM}")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr == ""
    assert done.stdout.split("\n\n")[:-1] == ["11 11 11 11", "1 5 5", "5 5 15", "2 3 3", "2 2 2"]


def test_without_cloudpickle_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['cloudpickle'] = None; from amltk import remote; remote.dumps(len)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert "pip install 'cloudpickle" in done.stderr
