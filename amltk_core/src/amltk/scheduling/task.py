"""`Task`: a function with plugins and events of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from amltk.backend import CallOptions
from amltk.checks import check_function, check_int
from amltk.describe import describe_value
from amltk.events import Supervisor
from amltk.exceptions import NotSupportedError
from amltk.scheduling.attaching import attach_to_task, task_plugins
from amltk.scheduling.map_feeder import MapFeeder
from amltk.scheduling.submission import submit_by_plugins
from amltk.scheduling.task_events import TaskEvents
from amltk.scheduling.task_plugin import TaskPlugin
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from amltk.scheduling.call_plugin import CallPlugin, Refusal
    from amltk.scheduling.scheduler import Scheduler

P = ParamSpec("P")
R = TypeVar("R")


class Task(TaskEvents[P, R]):
    """A function that a scheduler runs. Made by `scheduler.task(function)`; calling it submits a call.

    Attributes:
        function: The function of each call.
        scheduler: The scheduler to which calls are submitted.
        plugins: The task's plugins, in the order in which they are asked.
        on_submitted: A call was accepted. Callbacks receive `(future, *args, **kwargs)`.
        on_done: A call returned or raised. Callbacks receive `(future)`.
        on_result: A call returned. Callbacks receive `(future, result)`.
        on_exception: A call raised, or its worker died. Callbacks receive `(future, exception)`.
        on_cancelled: A call was cancelled. Callbacks receive `(future)`.
    """

    def __init__(
        self,
        function: Callable[P, R],
        scheduler: Scheduler,
        *,
        plugins: TaskPlugin | Iterable[TaskPlugin] = (),
    ) -> None:
        """Make a task; `scheduler.task(function, plugins=...)` is the usual way.

        Raises:
            TypeError: `function` cannot be called, or a plugin is not a `TaskPlugin`.
            PluginAttachedError: A plugin is attached to another task.
            DuplicateEventError: Two plugins bring an event of the same name.
        """
        check_function("function", function)
        super().__init__(getattr(function, "__qualname__", None) or describe_value(function))
        self.function = function
        self.scheduler = scheduler
        self.plugins = task_plugins(plugins)
        self.n_submitted = 0
        """The number of accepted calls, over all runs."""
        self.n_running = 0
        """The number of accepted calls that have not ended, waiting ones included."""
        self.refused_by: CallPlugin | None = None
        """The plugin of the task or scheduler that refused the last refused call."""
        self.refusal: Refusal | None = None
        """Its `Refusal`, which has the reason; None if it gave none."""
        self._options: CallOptions | None = None
        attach_to_task(self)

    @calls_user_code
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R] | None:
        """Submit a call of the function with these arguments; `task(...)` is the same as `task.submit(...)`.

        Returns:
            The future of the call; None if a plugin refused it: see `refused_by` and `refusal`.

        Raises:
            SchedulerNotRunningError: The scheduler does not run, or is about to end.
            WrongThreadError: Called from outside the thread of the run.
        """
        scheduler = self.scheduler
        run = scheduler.accepting_run()
        if self.plugins or scheduler.plugins:
            return submit_by_plugins(run, self, self.function, args, kwargs)
        return run.submit(self, self.function, args, kwargs, args, kwargs)

    __call__ = submit  # the same function, not one that calls it: this is on the path of each call

    def map(self, /, *iterables: Iterable[Any], buffersize: int) -> None:
        """Submit a call for each item of `iterables`, at most `buffersize` at a time.

        As with `map(function, *iterables)`, each call takes one item of each iterable, until the shortest
        ends. Items are taken only when they can be submitted, so large or endless inputs can come from a
        generator. The generator runs in the thread of the run, and must be fast. The run does not end for
        lack of work before the iterables do.

        A call that a plugin refuses is submitted again after another one has ended. If the plugin refuses
        it while no call of the scheduler is under way, a warning names it, and the map continues with the
        next item. After 1,000 such items in a row the map ends, with a warning.

        Args:
            *iterables: One for each positional argument of the function.
            buffersize: The most calls of the task under way, waiting for a worker or running; twice the
                number of workers keeps them busy. (The name is that of
                `concurrent.futures.Executor.map`.)

        Raises:
            SchedulerNotRunningError: The scheduler does not run, or is about to end.
            WrongThreadError: Called from outside the thread of the run.
            TypeError: No iterable is given, one can't be iterated, or `buffersize` is not an integer.
            ValueError: `buffersize` is below 1.
            Exception: An iterable raises now; later, its exception counts as that of a callback.
        """
        check_int("buffersize", buffersize, at_least=1)
        if not iterables:
            msg = f"map of {self!r} needs an iterable for each argument of the function; got none."
            raise TypeError(msg)
        self.scheduler.accepting_run().feed(MapFeeder(self, zip(*iterables, strict=False), buffersize))

    @property
    def timeout(self) -> float | None:
        """Seconds after which the backend ends a call; None, the default, is no limit.

        Set it in `attach_task` of a plugin. The time counts from when a worker begins the call, for all calls
        that are submitted afterwards. A call that exceeds it fails with `CallTimeoutError`.

        Raises:
            TypeError: When set: it is not a number.
            ValueError: When set: it is not above 0.
            NotSupportedError: When set: the backend can't end a call that takes too long.
        """
        return None if self._options is None else self._options.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        options = None if seconds is None else CallOptions(timeout=seconds)
        if options is not None and "timeout" not in self.scheduler.accepts_options:
            msg = (
                f"{self.scheduler.executor_label} cannot end a call that takes too long, as timeout={seconds:g} "
                f"of {self!r} asks. A backend whose accepts_options has 'timeout' can: Scheduler.with_processes(). "
                f"The plugin PynisherPlugin(walltime_limit={seconds:g}) limits calls on every backend."
            )
            raise NotSupportedError(msg)
        self._options = options

    @property
    def queue(self) -> tuple[asyncio.Future[R], ...]:
        """The futures of the accepted calls that have not ended yet, in the order of submission."""
        return tuple(future for future in self.scheduler.queue if future.task is self)

    def running(self) -> bool:
        """Return whether any accepted call has not ended yet."""
        return self.n_running > 0

    def _supervisor(self) -> Supervisor | None:
        run = self.scheduler.current_run
        return None if run is None else run.callbacks

    def __rich__(self) -> Any:
        from amltk.display import render_task  # rich is imported only to show something

        return render_task(self)

    def _repr_html_(self) -> str:
        from amltk.display import to_html  # rich is imported only to show something

        return to_html(self)
