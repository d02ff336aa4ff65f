"""Calls what blocks, without holding up the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("amltk")


async def in_thread(function: Callable[[], object], seconds: float, name: str) -> None:
    """Call `function` in a thread of its own, which is gone when this returns.

    Not `asyncio.to_thread`: that leaves the threads of its pool behind in the user's loop.

    Args:
        function: What is called.
        seconds: How long it may take.
        name: Of the thread, for those who see it in a stack dump.

    Raises:
        TimeoutError: It took longer; its thread is left alone.
        Exception: What it raised.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.done():
            return  # nobody waits any more
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        outcome: BaseException | None = None
        try:
            function()
        except BaseException as error:
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: it took longer, and nobody waits any more
            loop.call_soon_threadsafe(tell, outcome)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    await asyncio.wait_for(asyncio.shield(done), seconds)
    thread.join()


async def bring_about(label: str, what: str, function: Callable[[], object], seconds: float) -> None:
    """Do something to the executor; what goes wrong there must not keep the run from its end."""
    try:
        await in_thread(function, seconds, f"amltk: {label} is being {what}")
    except TimeoutError:
        msg = "%s could not be %s within %g s; the run ends without waiting longer."
        logger.warning(msg, label, what, seconds)
    except Exception:
        logger.exception("%s could not be %s in good order.", label, what)
