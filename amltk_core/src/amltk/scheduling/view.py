"""The live view of a run, as a Protocol, and its refreshing."""

from __future__ import annotations

import asyncio
from typing import Protocol

REFRESH_SECONDS = 0.1
"""How often a live view is refreshed."""


class View(Protocol):
    """A live view of a run."""

    def start(self) -> None:
        """Begin to show the run."""

    def refresh(self) -> None:
        """Show the current state."""

    def stop(self) -> None:
        """Show the final state, and leave it on the screen."""


async def keep_up_to_date(view: View) -> None:
    """Refresh the view until this task is cancelled."""
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        view.refresh()
