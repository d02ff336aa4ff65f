"""What tests have limited: importable in other processes, for this folder is on their path."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

FOREVER = 60


class OddError(Exception):
    """Can't be made of its args."""

    def __init__(self, first, second, *, third):
        super().__init__(f"{first} and {second}")
        self.second = second
        self.third = third


class Returned:
    def __init__(self, value):
        self.value = value


def limited(function, *, memory=None, cpu=None, wall=None):
    from amltk_pynisher._call import LimitedFunction  # not in the processes that only import the functions
    from amltk_pynisher._checks import checked

    return LimitedFunction(function, checked(memory, cpu, wall), "tests")


def in_thread(function, *args):
    """Call it in another thread, where no process is forked."""
    outcome = []

    def work():
        try:
            outcome.append((function(*args), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def here(function, *args):
    return function(*args)


def double(x):
    return 2 * x


def draw_number():
    return random.random()


def warn(text):
    warnings.warn(text, stacklevel=1)


def sleep():
    time.sleep(FOREVER)


def sleep_in_c():
    """Holds the interpreter's lock all the while."""
    ctypes.PyDLL(None).sleep(FOREVER)


def spin():
    while True:
        pass


def spin_in_c():
    re.match("(a+)+$", "a" * 60 + "b")


def ignore_signals():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    spin()


def raise_odd():
    odd = OddError(1, 2, third=3)
    odd.add_note("a note")
    odd.more = [4]
    raise odd from KeyError("why")


class UnspeakableError(Exception):
    """Nothing can be said of it."""

    @property
    def __notes__(self):
        raise MemoryError


def raise_unspeakable():
    raise UnspeakableError


def raise_in_local_class():
    class LocalError(Exception):
        pass

    msg = "local"
    raise LocalError(msg)


def many_bytes(megabytes):
    return bytes(megabytes << 20)


def needs(megabytes):
    return len(bytearray(megabytes << 20))


_SLEEPER = [sys.executable, "-c", f"import time; time.sleep({FOREVER})"]
_DAEMON = f"""
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True)
os.close(1)
time.sleep({FOREVER})
"""


def start_family(folder: Path):
    """Start a child, and a daemon that has left group, session and parent; leave the pids in files."""
    child = subprocess.Popen(_SLEEPER)
    daemon = subprocess.Popen([sys.executable, "-c", _DAEMON], stdout=subprocess.PIPE)
    leave(folder, "self", os.getpid())
    leave(folder, "parent", os.getppid())
    leave(folder, "daemon", int(daemon.stdout.readline()))
    leave(folder, "child", child.pid)


def leave(folder: Path, name: str, pid: int):
    made = folder / f".{name}"
    made.write_text(str(pid))
    made.rename(folder / name)


def start_family_and_sleep(folder: Path):
    start_family(folder)
    time.sleep(FOREVER)


def start_a_child_and_crash(folder: Path):
    leave(folder, "child", subprocess.Popen(_SLEEPER).pid)
    faulthandler.disable()  # pytest's, in a fork of it
    os.kill(os.getpid(), signal.SIGSEGV)


def in_daemonic_process(pipe):
    pipe.send(limited(double, wall=30)(21))
