"""Hands state over to the process of a call: seeds of random generators, and the settings of libraries.

A fork has all settings. A fresh interpreter receives them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from amltk_pynisher import _records

# The global generators of libraries: how to draw a seed from one, and how to set it.
_GENERATORS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, Any], object]]] = {
    "random": (lambda random: random.getrandbits(128), lambda random, seed: random.seed(seed)),
    "numpy.random": (lambda random: list(random.bytes(16)), lambda random, seed: random.seed(seed)),
    "torch": (
        lambda torch: int(torch.randint(0, 2**62, ())),
        lambda torch, seed: torch.default_generator.manual_seed(seed),
    ),
}


def draw_seeds() -> dict[str, Any]:
    """Draw a seed from each generator of this process. Without one, all forks would draw the same numbers."""
    return {name: draw(sys.modules[name]) for name, (draw, _) in _GENERATORS.items() if name in sys.modules}


def set_seeds(seeds: Mapping[str, Any]) -> None:
    """Seed the generators of this process."""
    for name, seed in seeds.items():
        if name in sys.modules:
            _GENERATORS[name][1](sys.modules[name], seed)


class Settings(NamedTuple):
    """The settings that a fresh interpreter receives in addition to `amltk.preparation`.

    Attributes:
        levels: The levels of the root logger, of `logging.disable`, and of the loggers with one of their own.
        gives_way: See `RecordSender.install`.
        multiprocessing: Name and key of the process, the start method, and the descriptor of the resource tracker;
            None if the module is not in use.
    """

    levels: tuple[int, int, Mapping[str, int]]
    gives_way: bool
    multiprocessing: tuple[str, bytes, str | None, int | None] | None

    @classmethod
    def of_this_process(cls) -> Settings:
        """Return the settings of this process."""
        loggers = list(logging.root.manager.loggerDict.items())
        own = {name: logger.level for name, logger in loggers if isinstance(logger, logging.Logger) and logger.level}
        return cls(
            levels=(logging.root.level, logging.root.manager.disable, own),
            gives_way=_records.gives_way(),
            multiprocessing=_multiprocessing(),
        )

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that the interpreter has to inherit."""
        tracker = self.multiprocessing and self.multiprocessing[3]
        return [] if tracker is None else [tracker]

    def apply(self) -> None:
        """Apply the settings to this process."""
        root, disabled, named = self.levels
        logging.root.setLevel(root)
        logging.disable(disabled)
        for name, level in named.items():
            logging.getLogger(name).setLevel(level)
        if self.multiprocessing is not None:
            import multiprocessing
            from multiprocessing import resource_tracker

            name, authkey, start_method, tracker = self.multiprocessing
            process = multiprocessing.current_process()
            process.name, process.authkey = name, authkey
            if start_method is not None:
                multiprocessing.set_start_method(start_method, force=True)
            if tracker is not None:
                os.set_inheritable(tracker, False)
                resource_tracker._resource_tracker._fd = tracker  # type: ignore[attr-defined] # as multiprocessing's spawn_main does


def _multiprocessing() -> tuple[str, bytes, str | None, int | None] | None:
    modules = sys.modules
    if "multiprocessing.process" not in modules:
        return None
    process = modules["multiprocessing.process"].current_process()
    start_method = modules["multiprocessing.context"]._default_context.get_start_method(allow_none=True)
    tracker = "multiprocessing.resource_tracker" in modules and modules["multiprocessing.resource_tracker"]
    descriptor = tracker._resource_tracker._fd if tracker else None
    key_matters = "multiprocessing.connection" in modules
    if process.name == "MainProcess" and start_method is None and descriptor is None and not key_matters:
        return None
    return process.name, bytes(process.authkey), start_method, descriptor
