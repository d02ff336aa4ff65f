"""An event loop for one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

GRACE_SECONDS = 2.0
"""How long tasks that were cancelled may take to end before the loop is closed without them."""


def run_in_new_loop(main: Callable[[], Coroutine[Any, Any, None]], torn: Callable[[BaseException], object]) -> None:
    """Run `main` in a loop of its own, which is closed afterwards with all that is left in it.

    Args:
        main: What is run.
        torn: Called with what was raised through the loop while `main` ran: by a task of the user's that calls
            `sys.exit`, say. The loop goes on then, so that `main` can end in good order; the second time it does not.

    Not `asyncio.run`: that waits without end for a task that does not heed its cancellation, takes
    the thread's current event loop away, and has its own idea of Ctrl-C.
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
