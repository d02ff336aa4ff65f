"""Merges signature and docstring of a constructor whose options are declared by two classes, each once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from amltk.checks import signature_of
from amltk_dask_jobqueue.system import BatchSystem

_ENTRY = re.compile(r"^ {4}\*{0,2}(\w+): .*\n?(?: {5,}.*\n?)*", re.MULTILINE)
_FIELD = re.compile(r"\{system\.(\w+)\}")


def merged_signature(own: Callable[..., object], base: type) -> inspect.Signature:
    """Return the signature of an `__init__` that passes its options on to a base class.

    Args:
        own: The `__init__`, which takes `**options`.
        base: The class whose `__init__` it calls.
    """
    _, *first = signature_of(own).parameters.values()
    inherited = [
        each for each in signature_of(base).parameters.values() if each.name not in {one.name for one in first}
    ]
    parameters = sorted([*first, *inherited], key=lambda each: each.kind)
    return inspect.Signature(parameters, return_annotation=None)


def merged_docstring(
    own: Callable[..., object], base: Callable[..., object], signature: inspect.Signature, system: BatchSystem
) -> str:
    """Return the docstring of an `__init__`, with the rest of the docstring of its base class.

    Args:
        own: The `__init__`.
        base: The `__init__` of the base class. `{system.title}` and the like stand for attributes of `system`.
        signature: The merged signature.
        system: The batch system.
    """
    shared = _FIELD.sub(lambda found: str(getattr(system, found[1])), inspect.cleandoc(base.__doc__ or ""))
    about, _, arguments = inspect.cleandoc(own.__doc__ or "").partition("\n\nArgs:\n")
    about_all, _, arguments_of_all = shared.partition("\n\nArgs:\n")
    entries = {
        found[1]: found[0].rstrip("\n") for text in (arguments_of_all, arguments) for found in _ENTRY.finditer(text)
    }
    lines = [entries[name] for name in signature.parameters if name in entries]
    more = about_all.partition("\n")[2]
    return "\n".join([f"{about}\n{more}\n\nArgs:", *lines]) + "\n"
