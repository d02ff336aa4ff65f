"""Pickling between a process and the one in which it has a call run."""

from __future__ import annotations

import pickle


def dumps_by_value(value: object) -> bytes:
    """Pickle for a process that does not know our `__main__`: what lives there travels by value."""
    from amltk import remote  # a forked process rarely needs it

    return remote.dumps(value)


def dumps(value: object) -> bytes:
    """Pickle for the process that has started us: by reference where that works, else by value."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # what can't be pickled by value either, it says
        from amltk import remote

        return remote.dumps_result(value)
