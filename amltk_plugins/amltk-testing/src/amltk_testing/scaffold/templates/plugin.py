"""The task plugin `newname`."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from amltk import Event, Refusal, Task, TaskPlugin
from amltk.checks import check_int

AMLTK_CONTRACT = 1


class NewnamePlugin(TaskPlugin):
    """Refuses calls of its task after the first few: a start, to be replaced by what yours does."""

    name: ClassVar[str] = "newname"

    REFUSED: Event[...] = Event(
        "newname-refused",
        "A call was refused, there were max_calls already; callbacks receive (task, *args, **kwargs).",
    )

    def __init__(self, max_calls: int = 10) -> None:
        """Let `max_calls` calls pass, 1 or more."""
        check_int("max_calls", max_calls, at_least=1)
        self.max_calls = max_calls

    def pre_submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]] | Refusal:
        """Let a call pass, as it is or changed; or refuse it."""
        assert self.task is not None, "only an attached plugin is asked"
        if self.task.event_counts[Task.SUBMITTED] >= self.max_calls:
            self.task.emit(self.REFUSED, self.task, *args, **kwargs)
            return Refusal(f"max_calls={self.max_calls} calls were accepted")
        return function, args, kwargs
