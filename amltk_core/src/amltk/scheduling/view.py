"""What shows a run while it goes on, and keeps that up to date."""

from __future__ import annotations

import asyncio
from typing import Protocol

REFRESH_SECONDS = 0.1
"""How often a live view is refreshed."""


class View(Protocol):
    """What shows a run while it goes on."""

    def start(self) -> None:
        """Begin to show it."""

    def refresh(self) -> None:
        """Show how things stand now."""

    def stop(self) -> None:
        """Show how things stand at the end, and leave that on the screen."""


async def keep_up_to_date(view: View) -> None:
    """Refresh the view, until it is cancelled."""
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        view.refresh()
