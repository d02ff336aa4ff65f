# Written by tools/generate_constructors.py from the backends of this repository; do not edit.
"""`Scheduler.with_<name>` of our own backends, declared for type checkers."""

from collections.abc import Callable
from typing import Any, Self

class Constructors:
    @classmethod
    def with_processes(
        cls,
        max_workers: int | None = ...,
        *,
        initializer: Callable[..., object] | None = ...,
        initargs: tuple[Any, ...] = ...,
        max_tasks_per_child: int | None = ...,
    ) -> Self:
        """Run calls in processes."""
