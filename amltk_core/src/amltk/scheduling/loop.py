"""An event loop for one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

GRACE_SECONDS = 2.0
"""How long cancelled tasks may take to end before the loop is closed without them."""


def run_in_new_loop(main: Callable[[], Coroutine[Any, Any, None]], torn: Callable[[BaseException], object]) -> None:
    """Run `main` in a new loop, then end the remaining tasks and close the loop.

    Args:
        main: The coroutine function to run.
        torn: Called with an exception that is raised through the loop while `main` runs: by a task of the user's that
            calls `sys.exit`, for example. The loop continues, so that `main` can end in good order; a second
            exception ends it.

    `asyncio.run` would wait without limit for a task that ignores its cancellation, remove the thread's current
    event loop, and handle Ctrl-C differently.
    """
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(main())
        try:
            loop.run_until_complete(task)
        except BaseException as error:
            if task.done():
                raise
            torn(error)
            loop.run_until_complete(task)
    finally:
        try:
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=GRACE_SECONDS)
