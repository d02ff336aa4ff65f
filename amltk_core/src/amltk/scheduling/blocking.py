"""Calls blocking functions without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("amltk")


async def in_thread(function: Callable[[], object], seconds: float, name: str) -> None:
    """Call `function` in a new thread, which has ended when this returns.

    Unlike `asyncio.to_thread`, it leaves no thread of a pool behind in the user's loop.

    Args:
        function: The function to call.
        seconds: The time limit.
        name: The name of the thread, for stack dumps.

    Raises:
        TimeoutError: The function took longer; its thread is left alone.
        Exception: The exception of the function.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.done():
            return  # the time limit was exceeded
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
        with contextlib.suppress(RuntimeError):  # the loop is closed: the time limit was exceeded
            loop.call_soon_threadsafe(tell, outcome)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    await asyncio.wait_for(asyncio.shield(done), seconds)
    thread.join()


async def bring_about(label: str, what: str, function: Callable[[], object], seconds: float) -> None:
    """Do something to the executor; log errors, which must not keep the run from ending."""
    try:
        await in_thread(function, seconds, f"amltk: {label} is being {what}")
    except TimeoutError:
        msg = "%s could not be %s within %g s; the run ends without waiting longer."
        logger.warning(msg, label, what, seconds)
    except Exception:
        logger.exception("%s could not be %s in good order.", label, what)
