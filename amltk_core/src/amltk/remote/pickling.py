"""Pickling by value."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]


def dumps(value: object, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle a call, or a part of it, for a worker. Functions and classes of the script travel by value.

    Functions and classes of `__main__`, lambdas and closures need not be importable in the worker. Everything of one
    script lives in one module `__main__` there, so its functions share their globals.

    Args:
        value: The value to pickle.
        buffer_callback: As in `pickle.dumps`.

    Raises:
        ModuleNotFoundError: cloudpickle is not installed.
        pickle.PicklingError: A part of `value` can't be pickled.
    """
    return _dump_by_value()(value, buffer_callback, to_worker=True)


def dumps_result(value: object, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle a call's result or exception, for the program. Functions take along the globals that they have here.

    Args:
        value: The value to pickle.
        buffer_callback: As in `pickle.dumps`.

    Raises:
        ModuleNotFoundError: cloudpickle is not installed.
        pickle.PicklingError: A part of `value` can't be pickled.
    """
    return _dump_by_value()(value, buffer_callback, to_worker=False)


def _dump_by_value() -> Callable[..., bytes]:
    try:
        from amltk.remote.by_value import dump  # cloudpickle takes long to import
    except ModuleNotFoundError as error:
        error.add_note("To send functions by value, amltk needs cloudpickle: pip install 'cloudpickle>=3.0'")
        raise
    return dump


# Pickles of `dumps` need nothing else; classes that exist here are left as they are.
loads = pickle.loads
