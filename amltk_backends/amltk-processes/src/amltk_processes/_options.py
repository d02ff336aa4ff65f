"""The options of the pool: checked where the user passes them, and handed to the pool in one piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from amltk.checks import check_callable, check_heartbeat, check_int, check_type

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from amltk_processes._call import Call


def check_options(
    *,
    max_workers: int | None,
    mp_context: BaseContext | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    max_tasks_per_child: int | None,
    heartbeat_timeout: float | None,
    forward_logs: bool,
    preload: Sequence[str],
) -> None:
    """Check the options of the backend and of the executor.

    Raises:
        TypeError: An option is of a wrong type.
        ValueError: A number is below 1, or `preload` has a string that is no module's name.
    """
    check_int("max_workers", max_workers, at_least=1, or_none=True)
    if mp_context is not None:
        from multiprocessing.context import BaseContext  # loaded already if there is a context

        if not isinstance(mp_context, BaseContext):
            msg = (
                f"mp_context must be a context of multiprocessing, such as multiprocessing.get_context('spawn'), "
                f"got {mp_context!r} of type {type(mp_context).__name__}."
            )
            raise TypeError(msg)
    if initializer is not None:
        check_callable("initializer", initializer)
    check_type("initargs", initargs, tuple)
    check_int("max_tasks_per_child", max_tasks_per_child, at_least=1, or_none=True)
    check_heartbeat("heartbeat_timeout", heartbeat_timeout)
    check_type("forward_logs", forward_logs, bool)
    if isinstance(preload, str) or not isinstance(preload, Sequence):
        msg = f"preload must be a list of names of modules, such as ['sklearn'], got {preload!r}."
        raise TypeError(msg)
    for name in preload:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            msg = f"preload must have names of modules, such as 'sklearn.ensemble', got {name!r}."
            raise ValueError(msg)


class PoolOptions(NamedTuple):
    """The options of a pool.

    Attributes:
        max_workers: The most workers there are at a time.
        first_call: The first call of each worker, which runs the initializer; None if there is none.
        max_tasks_per_child: The most calls that a worker gets; None is no limit.
        heartbeat_timeout: How many seconds a worker may give no sign of life; None is no limit.
        start_method: How workers are started (see `ForkServer`).
        forward_logs: Whether the log records of workers are handled here.
        preload: The modules that are imported before workers are forked.
        environ: Environment variables of workers.
    """

    max_workers: int
    first_call: Call | None
    max_tasks_per_child: int | None
    heartbeat_timeout: float | None
    start_method: str
    forward_logs: bool
    preload: Sequence[str]
    environ: Mapping[str, str]
