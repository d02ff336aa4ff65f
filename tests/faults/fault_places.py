"""Where calls of the fault suite run: each installed backend of the list, and an executor of the user's."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any

from fault_rows import Row

from amltk.backend import Capabilities
from amltk.plugins import plugin_manager


@dataclass(frozen=True)
class Place:
    """A column of the table.

    Attributes:
        name: Of the backend; `OWN` is no backend's.
        options: What the backend's executors are made with.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether it is an executor of the user's."""
        return self.name == OWN

    @property
    def has(self) -> set[str]:
        """What rows can need of it."""
        if self.own:
            return {"own", "needs_pickling"}
        backend = plugin_manager().backend(self.name)
        claims = {each.name for each in fields(Capabilities) if getattr(backend.capabilities, each.name)}
        return claims | {f"{option}=" for option in signature(backend).parameters}

    def lacks(self, row: Row) -> str:
        """Return what a row needs and the place has not, or an empty text."""
        has = self.has
        missing = (need for need in row.needs if (need.removeprefix("not ") in has) == need.startswith("not "))
        return next(missing, "")


OWN = "executor"

# Another backend joins by a line.
PLACES = (
    Place("processes", {"max_workers": 2}),
    Place("loky", {"max_workers": 2}),
    Place("dask", {"n_workers": 2}),
    Place("ray", {"max_workers": 2}),
    Place("threads", {"max_workers": 2}),
    Place("sequential"),
    Place(OWN),
)


def own_executor() -> Executor:
    """Return what most people have: the standard library's pool."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
