"""The backend `newname`."""

from concurrent.futures import Executor
from typing import ClassVar

from amltk.backend import Backend, Capabilities
from amltk.checks import check_int

AMLTK_CONTRACT = 1


class Newname(Backend):
    """Threads: a start, to be replaced."""

    name: ClassVar[str] = "newname"
    summary: ClassVar[str] = "Threads: a start, to be replaced."
    capabilities: ClassVar[Capabilities] = Capabilities(takes_any_function=True, carries_any_exception=True)

    def __init__(self, max_workers: int = 1) -> None:
        """Run calls in threads: a start, to be replaced by an executor of yours.

        Args:
            max_workers: How many calls run at a time.
        """
        check_int("max_workers", max_workers, at_least=1)  # refuse here what open() could not use
        self.max_workers = max_workers

    def open(self) -> Executor:
        """Return the executor of a run."""
        from concurrent.futures import ThreadPoolExecutor  # what a backend wraps is imported here, when it is used

        return ThreadPoolExecutor(self.max_workers)
