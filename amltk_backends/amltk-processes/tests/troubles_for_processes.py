"""Objects that make trouble where they are told to: importable by workers, for this folder is on their path."""

from __future__ import annotations

import os
import sys


def trouble(kind: str) -> None:
    if kind == "error":
        raise ZeroDivisionError(kind)
    if kind == "exit":
        sys.exit(kind)
    if kind == "crash":
        os.abort()


class WhenPickled:
    """Makes trouble when it is pickled."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[object, tuple[str]]:
        trouble(self.kind)
        return WhenPickled, (self.kind,)


class WhenUnpickled:
    """Makes trouble when it is unpickled."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return trouble, (self.kind,)


def take(value: object) -> object:
    return value


def return_what_fails_to_pickle(kind: str) -> WhenPickled:
    return WhenPickled(kind)


def return_what_fails_to_unpickle(kind: str) -> WhenUnpickled:
    return WhenUnpickled(kind)


# Where it happens, by the function and the argument of the call.
PLACES = {
    "pickle the argument": lambda kind: (take, WhenPickled(kind)),
    "unpickle the argument": lambda kind: (take, WhenUnpickled(kind)),
    "run": lambda kind: (trouble, kind),
    "pickle the result": lambda kind: (return_what_fails_to_pickle, kind),
    "unpickle the result": lambda kind: (return_what_fails_to_unpickle, kind),
}
IN_THE_MAIN_PROCESS = {"pickle the argument", "unpickle the result"}
