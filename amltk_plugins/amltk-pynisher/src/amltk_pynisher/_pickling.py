"""Pickling between the process of a call and its parent."""

from __future__ import annotations

import pickle


def dumps_by_value(value: object) -> bytes:
    """Pickle for a process with another `__main__`: objects of `__main__` travel by value."""
    from amltk import remote  # a forked process rarely needs it

    return remote.dumps(value)


def dumps(value: object) -> bytes:
    """Pickle for the parent process: by reference if that works, else by value."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # pickling by value raises if that fails, too
        from amltk import remote

        return remote.dumps_result(value)
