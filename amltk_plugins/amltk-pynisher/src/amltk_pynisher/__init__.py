"""A task plugin of amltk: limits the memory, cpu time and wall time of each call, with the library pynisher.

`PynisherPlugin` is imported at its first use, because the processes that run limited calls need no
scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amltk_pynisher.pynisher_plugin import PynisherPlugin

__all__ = ["PynisherPlugin"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from amltk_pynisher.pynisher_plugin import PynisherPlugin

    return PynisherPlugin
