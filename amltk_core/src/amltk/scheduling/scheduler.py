"""`Scheduler`: submits calls to an executor and emits events for their outcomes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from amltk.checks import check_callback, check_function, check_seconds, check_type
from amltk.events import Emitter, Supervisor
from amltk.exceptions import SchedulerNotRunningError
from amltk.plugins import plugin_manager
from amltk.scheduling.attaching import attach_to_scheduler
from amltk.scheduling.callbacks import Timer
from amltk.scheduling.constructors import Constructors
from amltk.scheduling.exception_policy import OnException, Policy
from amltk.scheduling.executor_source import ExecutorSource, from_backend, from_executor
from amltk.scheduling.launching import check_not_running, launch, launch_in_running_loop
from amltk.scheduling.run import Run
from amltk.scheduling.scheduler_events import SchedulerEvents
from amltk.scheduling.submission import submit_by_plugins
from amltk.scheduling.task import Task

if TYPE_CHECKING:
    from typing import Self

    from amltk.backend import OptionName
    from amltk.scheduling.call_future import CallFuture
    from amltk.scheduling.call_plugin import CallPlugin, Refusal
    from amltk.scheduling.exit_state import ExitState
    from amltk.scheduling.scheduler_plugin import SchedulerPlugin
    from amltk.scheduling.task_plugin import TaskPlugin

P = ParamSpec("P")
R = TypeVar("R")


class Scheduler(SchedulerEvents, Constructors):
    """Runs functions in an executor, and emits events for their outcomes.

    `Scheduler.with_processes(2)`, or `with_<name>` of any installed backend, makes a scheduler whose
    executor is opened at the start of each run and closed at its end. `Scheduler(executor=...)` takes
    an executor that you close.

    Attributes:
        on_start: A run has started and takes calls. Callbacks receive nothing.
        on_future_submitted: A call was accepted. Callbacks receive `(future)`.
        on_future_done: A call returned or raised. Callbacks receive `(future)`.
        on_future_result: A call returned. Callbacks receive `(future, result)`.
        on_future_exception: A call raised, or its worker died. Callbacks receive `(future, exception)`.
        on_future_cancelled: A call was cancelled. Callbacks receive `(future)`.
        on_empty: No call is left. Callbacks receive nothing, and may submit more.
        on_timeout: The timeout of the run is over. Callbacks receive nothing.
        on_stop: `stop()` was called. Callbacks receive `(message, exception)`.
        on_finishing: All calls have ended, the executor is about to be closed. Callbacks receive nothing.
        on_finished: The run is over; its last event. Callbacks receive nothing.
    """

    def __init__(self, executor: Executor) -> None:
        """Run calls in `executor`, which stays open when a run ends.

        Raises:
            TypeError: It is not a `concurrent.futures.Executor`.
        """
        self._set_up(from_executor(executor))

    @classmethod
    def with_backend(cls, name: str, /, *args: Any, **options: Any) -> Self:
        """Make a scheduler for an installed backend; `with_backend("x", ...)` is `with_x(...)`.

        Args:
            name: The backend's name; `amltk backends` lists those that are installed.
            *args: Options of the backend: see the help of its `with_<name>`.
            **options: Options by name.

        Raises:
            UnknownBackendError: There is no backend of that name.
            BackendNotInstalledError: It is known, but its distribution is not installed.
            BrokenBackendError: It is installed, but fails to load.
            TypeError: The backend has no such option, or a value is of a wrong type.
            ValueError: The backend can't use a value.
        """
        scheduler = cls.__new__(cls)
        scheduler._set_up(from_backend(plugin_manager().backend(name), args, options))
        return scheduler

    def _set_up(self, source: ExecutorSource) -> None:
        Emitter.__init__(self)
        self._source = source
        self._tasks: list[Task[..., Any]] = []
        self._holds_deliveries = False
        self.plugins: tuple[SchedulerPlugin, ...] = ()
        """The scheduler's plugins, in the order in which they are asked."""
        self.refused_by: CallPlugin | None = None
        """The plugin that refused the last refused call of `submit`."""
        self.refusal: Refusal | None = None
        """Its `Refusal`, which has the reason; None if it gave none."""
        self.current_run: Run | None = None
        plugin_manager().load_observers()
        plugin_manager().hooks.amltk_scheduler_created(self)

    def task(self, function: Callable[P, R], *, plugins: TaskPlugin | Iterable[TaskPlugin] = ()) -> Task[P, R]:
        """Make a task of a function: its calls have events of their own.

        Args:
            function: The function of each call.
            plugins: Plugins of the task, in the order in which they are asked.

        Raises:
            TypeError: `function` cannot be called, or a plugin is not a `TaskPlugin`.
            PluginAttachedError: A plugin is attached to another task.
        """
        task = Task(function, self, plugins=plugins)
        self._tasks.append(task)
        plugin_manager().hooks.amltk_task_created(task)
        return task

    def add_plugin(self, plugin: SchedulerPlugin) -> None:
        """Add a plugin for every call, `submit` included; it is asked before the plugins of a task.

        Raises:
            TypeError: It is not a `SchedulerPlugin`.
            PluginAttachedError: It is attached to a scheduler already.
            SchedulerAlreadyRunningError: The scheduler is running.
            DuplicateEventError: The scheduler has an event of one of the plugin's names.
        """
        attach_to_scheduler(self, plugin)

    # Typed without None, which only a refusing plugin causes: most users await the future.
    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Submit one call, while the scheduler runs.

        Returns:
            The future of the call; None if a plugin of the scheduler refused it: see `refused_by` and `refusal`.

        Raises:
            SchedulerNotRunningError: The scheduler does not run, or is about to end.
            WrongThreadError: Called from outside the thread of the run.
            TypeError: `function` cannot be called, or is an `async def` function.
        """
        check_function("function", function)
        run = self.accepting_run()
        if self.plugins:
            return submit_by_plugins(run, None, function, args, kwargs)  # type: ignore[return-value] # as said above
        return run.submit(None, function, args, kwargs)

    def call_later(self, delay: float, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> Timer:
        """Call a function in the thread of the run after a delay; from any thread.

        A run does not end for lack of work while a function waits. If the run ends for another reason,
        the function is not called.

        Args:
            delay: Seconds from now.
            function: The function to call; if it is an `async def` function, the run awaits it.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            A timer with a method `cancel()`.

        Raises:
            SchedulerNotRunningError: The scheduler does not run.
            TypeError: `delay` is not a number, or `function` cannot be called.
            ValueError: `delay` is negative.
        """
        check_seconds("delay", delay)
        check_callback("function", function)
        run = self.current_run
        if run is None:
            raise self._not_running()
        return run.call_later(delay, function, args, kwargs)

    def stop(self, *_: object, stop_msg: str = "stop() was called", exception: BaseException | None = None) -> None:
        """End the run; from any thread, or as a callback itself.

        `wait=` of `run()` decides whether running calls may finish. Does nothing when the scheduler is
        not running.

        Args:
            *_: Ignored, so that `scheduler.stop` can be the callback of any event.
            stop_msg: Passed to the callbacks of `on_stop`.
            exception: Passed to the callbacks of `on_stop`, and part of the `ExitState`.
        """
        run = self.current_run
        if run is not None:
            run.stop(stop_msg, exception)

    def run(
        self,
        *,
        timeout: float | None = None,
        wait: bool = True,
        end_on_empty: bool = True,
        on_exception: OnException = "raise",
        display: bool = False,
    ) -> ExitState:
        """Run until nothing is left to do, or until something ends the run.

        If an event loop runs in this thread, as in a notebook, the run has a loop of its own in another
        thread, and this thread waits; `async_run` uses the running loop.

        Args:
            timeout: Seconds after which the run ends.
            wait: If `stop()`, an exception or the timeout ends the run: True waits for running calls,
                and cancels those that no worker has begun. False cancels all, and kills the running
                ones, if the backend can.
            end_on_empty: Whether the run ends when no call, timer or callback is left.
            on_exception: The reaction to an exception of a submitted function or a callback: "raise"
                ends the run and raises it here; "end" ends the run; "ignore" (or "continue") continues.
                Or a mapping from exception types to these, in which the first match counts; an exception
                without a match is raised.
            display: Show the scheduler live in the terminal.

        Returns:
            How the run ended.

        Raises:
            SchedulerAlreadyRunningError: A run is under way.
            TypeError: An argument is of a wrong type.
            ValueError: An argument has a value that is not allowed.
            KeyboardInterrupt: After Ctrl-C, which acts like `stop()` with `wait=False`.
            Exception: The exception of a function or a callback, by `on_exception`; an `ExceptionGroup` of
                several.
        """
        run = self._new_run(timeout, wait, end_on_empty, on_exception, display)
        return launch(self, run)

    async def async_run(
        self,
        *,
        timeout: float | None = None,
        wait: bool = True,
        end_on_empty: bool = True,
        on_exception: OnException = "raise",
        display: bool = False,
    ) -> ExitState:
        """Do the same as `run`, in the running event loop.

        If the awaiting task is cancelled, the run ends as by `stop()` with `wait=False`: its last events
        are emitted before `CancelledError` is raised here.
        """
        run = self._new_run(timeout, wait, end_on_empty, on_exception, display)
        return await launch_in_running_loop(self, run)

    def running(self) -> bool:
        """Return whether a run is under way."""
        return self.current_run is not None

    @property
    def queue(self) -> tuple[CallFuture[Any], ...]:
        """The futures of the accepted calls that have not ended yet, in the order of submission."""
        return tuple(self.current_run.waiting.values()) if self.current_run is not None else ()

    @property
    def tasks(self) -> tuple[Task[..., Any], ...]:
        """The tasks of this scheduler, in the order in which they were made."""
        return tuple(self._tasks)

    @property
    def executor_label(self) -> str:
        """A description of the executor: `with_processes(max_workers=2)`, or the class of your executor."""
        return self._source.label

    @property
    def accepts_options(self) -> tuple[OptionName, ...]:
        """The options of a call that the executor honours: with `"timeout"`, tasks can have a `timeout`."""
        return self._source.accepts_options

    def accepting_run(self) -> Run:
        """Return the run under way, for a call that is about to be submitted.

        Raises:
            SchedulerNotRunningError: No run is under way, or it is about to end.
            WrongThreadError: Called from outside the thread of the run.
        """
        run = self.current_run
        if run is None:
            raise self._not_running()
        if not run.accepting or threading.get_ident() != run.inbox.thread:
            run.refuse()
        return run

    def expect_deliveries(self) -> None:
        """Call `before_delivery` for ended calls, from now on and in each run."""
        self._holds_deliveries = True
        if self.current_run is not None:
            self.current_run.expect_deliveries()

    def _not_running(self) -> SchedulerNotRunningError:
        return SchedulerNotRunningError(
            "The scheduler is not running, so it takes no calls. Submit them from a callback, such as one of "
            "@scheduler.on_start, and call scheduler.run()."
        )

    def _new_run(
        self, timeout: float | None, wait: bool, end_on_empty: bool, on_exception: OnException, display: bool
    ) -> Run:
        check_not_running(self)
        check_seconds("timeout", timeout, or_none=True)
        check_type("wait", wait, bool)
        check_type("end_on_empty", end_on_empty, bool)
        check_type("display", display, bool)
        policy = Policy(on_exception)
        view = None
        if display:
            from amltk.display import LiveView  # rich is imported only to show something

            view = LiveView(self)
        run = Run(self, self._source, policy=policy, timeout=timeout, wait=wait, end_on_empty=end_on_empty, view=view)
        if self._holds_deliveries:
            run.expect_deliveries()
        return run

    def _supervisor(self) -> Supervisor | None:
        return None if self.current_run is None else self.current_run.callbacks

    def __rich__(self) -> Any:
        from amltk.display import render_scheduler  # rich is imported only to show something

        return render_scheduler(self)

    def _repr_html_(self) -> str:
        from amltk.display import to_html  # rich is imported only to show something

        return to_html(self)
