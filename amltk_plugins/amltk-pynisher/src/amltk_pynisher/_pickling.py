"""Pickling between a process and the one in which it has a call run."""

from __future__ import annotations

import pickle


def dumps_by_value(value: object) -> bytes:
    """Pickle for a process that does not know our `__main__`: what lives there travels by value."""
    import cloudpickle  # a forked process rarely needs it

    data: bytes = cloudpickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return data


def dumps(value: object) -> bytes:
    """Pickle for the process that has started us: by reference where that works, else by value."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # cloudpickle knows more; what it does not know either, it says
        return dumps_by_value(value)
