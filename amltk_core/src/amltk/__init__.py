"""amltk: event-driven scheduling of heavy work, on whatever backend is installed.

Everything is imported when it is first asked for, so that `import amltk` costs next to nothing.
"""

from __future__ import annotations

import importlib
import os
import sys

TYPE_CHECKING = False  # processes that import nothing but a small module of ours would wait for `typing`
if TYPE_CHECKING:
    from typing import Any

    from amltk.events import Emitter, Event, Subscriber, Subscribes
    from amltk.requeue import Requeue
    from amltk.scheduling import (
        Answer,
        ExitState,
        Refusal,
        Scheduler,
        SchedulerPlugin,
        Task,
        TaskPlugin,
    )
    from amltk_call_limiter import CallLimiter as CallLimiter  # comes with the distribution amltk-call-limiter
    from amltk_pynisher import PynisherPlugin as PynisherPlugin  # comes with the distribution amltk-pynisher
    from amltk_retry import Retry as Retry  # comes with the distribution amltk-retry
    from amltk_timeout import Timeout as Timeout  # comes with the distribution amltk-timeout

    __version__: str

began_in: str | None
"""The directory in which the program began, for `amltk.preparation`; None if it was deleted."""
if "multiprocessing.process" in sys.modules:  # it was imported before amltk, so it knows better
    began_in = sys.modules["multiprocessing.process"].ORIGINAL_DIR
else:
    try:
        began_in = os.getcwd()  # noqa: PTH109 - `pathlib` takes long to import
    except OSError:
        began_in = None

_HOME = {
    "Answer": "amltk.scheduling",
    "Emitter": "amltk.events",
    "Event": "amltk.events",
    "ExitState": "amltk.scheduling",
    "Refusal": "amltk.scheduling",
    "Requeue": "amltk.requeue",
    "Scheduler": "amltk.scheduling",
    "SchedulerPlugin": "amltk.scheduling",
    "Subscriber": "amltk.events",
    "Subscribes": "amltk.events",
    "Task": "amltk.scheduling",
    "TaskPlugin": "amltk.scheduling",
}
_OFFERED = ("CallLimiter", "PynisherPlugin", "Retry", "Timeout")

# Without what other distributions bring: `from amltk import *` works with the core alone.
__all__ = [
    "Answer",
    "Emitter",
    "Event",
    "ExitState",
    "Refusal",
    "Requeue",
    "Scheduler",
    "SchedulerPlugin",
    "Subscriber",
    "Subscribes",
    "Task",
    "TaskPlugin",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _OFFERED:
        from amltk.plugins.catalog import offered

        value = offered(name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("amltk-core")
    else:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from amltk.plugins.catalog import installed_of

    return sorted({*globals(), *__all__, *installed_of(_OFFERED), "__version__"})
