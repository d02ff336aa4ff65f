"""Registers the backend `newname`."""

from collections.abc import Callable
from concurrent.futures import Executor

from amltk.backend import Backend, Capabilities
from amltk.checks import check_int
from amltk.hookspecs import hookimpl

AMLTK_CONTRACT = 1


def create(max_workers: int = 1) -> Executor:
    """Run calls in threads: a start, to be replaced by an executor of yours.

    Args:
        max_workers: How many calls run at a time.
    """
    from concurrent.futures import ThreadPoolExecutor  # what a backend wraps is imported here, when it is used

    return ThreadPoolExecutor(max_workers)


def check(max_workers: int = 1) -> None:
    """Refuse what `create` could not use."""
    check_int("max_workers", max_workers, at_least=1)


@hookimpl
def amltk_register_backends(register: Callable[[Backend], None]) -> None:
    """Register the backend `newname`."""
    register(
        Backend(
            name="newname",
            summary="Threads: a start, to be replaced.",
            create=create,
            check=check,
            capabilities=Capabilities(takes_any_function=True, carries_any_exception=True),
        )
    )
