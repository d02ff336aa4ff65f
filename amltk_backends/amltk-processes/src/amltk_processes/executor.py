"""The executor. A `Dispatcher` does its work, and may outlive it."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from importlib import import_module
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from amltk.cpus import cpu_count
from amltk.preparation import numerical_threads, python_executable
from amltk_processes._call import Call, PoolFuture
from amltk_processes._dispatcher import Dispatcher
from amltk_processes._options import PoolOptions, check_options
from amltk_processes._pickling import FAILURES, CallPickler
from amltk_processes._worker import run_initializer

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from amltk.backend import CallOptions, OptionName
    from amltk_processes._broken import BrokenProcessPool

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor"]


def __getattr__(name: str) -> Any:
    if name != "BrokenProcessPool":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from amltk_processes._broken import BrokenProcessPool

    return BrokenProcessPool


P = ParamSpec("P")
T = TypeVar("T")


class ProcessPoolExecutor(Executor):
    """Runs calls in processes of this machine, as `concurrent.futures.ProcessPoolExecutor` does, and more safely.

    A worker that dies fails the call that it ran (`amltk.exceptions.WorkerDied`), no other, and is
    replaced. Functions and classes of `__main__`, lambdas and closures work; the user's script is
    not imported anew, so it needs no guard. Running calls can be ended: one by `cancel()` of its
    future, those that take too long by `submit_call`, all by `kill_calls`, and all with the
    executor itself by `kill_workers`. Nothing is left behind, however the main process ends.

    Callbacks of futures run in a thread of the executor, as they do in the standard one.

    Attributes:
        accepts_options: The options of a call that `submit_call` takes.
    """

    accepts_options: tuple[OptionName, ...] = ("timeout",)

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        heartbeat_timeout: float | None = None,
        forward_logs: bool = True,
        preload: Sequence[str] = (),
    ) -> None:
        """Start nothing yet; calls start the processes that they need.

        Args:
            max_workers: The most processes at a time; by default one for each processor that this process
                may use.
            mp_context: A context of `multiprocessing.get_context(...)`: how processes start. `forkserver`, the
                default: as forks of a small process, which is quick and safe. `spawn`: as fresh interpreters.
                `fork`: with the memory of this program as it is at the first call, and the dangers of that.
            initializer: Called in each process before its first call. If it raises, the pool is
                broken: every call fails with `BrokenProcessPool`.
            initargs: Passed to `initializer`.
            max_tasks_per_child: A process is replaced after so many calls; None keeps it.
            heartbeat_timeout: A process that gives no sign of life for so many seconds is ended and
                replaced, and its call fails with `WorkerLost`. None, the default, waits for ever.
            forward_logs: Log records and warnings of calls are handled by this process's loggers.
            preload: Names of modules to import before the first call: once, in the process that forks workers;
                with the start method `spawn`, in each worker. This time does not count for the limits of calls.
                If a module can't be imported, the pool is broken.

        Raises:
            TypeError: An option is of a wrong type.
            ValueError: A number is below 1, or `preload` has a string that is no module's name.
            RuntimeError: There is no Python interpreter to start workers with.
            pickle.PicklingError: `initializer` or `initargs` can't be pickled.
        """
        check_options(
            max_workers=max_workers,
            mp_context=mp_context,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_child=max_tasks_per_child,
            heartbeat_timeout=heartbeat_timeout,
            forward_logs=forward_logs,
            preload=preload,
        )
        start_method = "forkserver" if mp_context is None else mp_context.get_start_method()
        if start_method != "fork":
            python_executable()
        self._pickler = CallPickler()
        first = None
        if initializer is not None or preload:
            fn, args = (initializer, initargs) if initializer else (import_module, tuple(preload))
            try:
                function, data, buffers = self._pickler.pickle(run_initializer, (preload, initializer, initargs), {})
            except FAILURES:
                self._pickler.pickle(fn, args, {})  # it fails too, with an error that names nothing of ours
                raise
            first = Call(PoolFuture(lambda: None, ends_running=False), fn, args, {}, None, function, data, buffers)
        processors = cpu_count()
        max_workers = max_workers or processors
        self._dispatcher = Dispatcher(
            PoolOptions(
                max_workers=max_workers,
                first_call=first,
                max_tasks_per_child=max_tasks_per_child,
                heartbeat_timeout=None if heartbeat_timeout is None else float(heartbeat_timeout),
                start_method=start_method,
                forward_logs=forward_logs,
                preload=preload,
                environ=numerical_threads(processors, max_workers),
            )
        )
        self._end_cancelled = self._dispatcher.end_cancelled  # bound once: each future would keep its own bound method
        # `map` submits by this copy: it cancels futures that it gives up, and those of their calls that run go on.
        self._ends_running = True
        self._for_map = copy.copy(self)
        self._for_map._ends_running = False
        # The thread has no reference to this object. Once this object is gone, the thread ends when the work is done.
        weakref.finalize(self, self._dispatcher.stop).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn(*args, **kwargs)` in a worker.

        If a part of the call can't be pickled, the future fails with an error that names the part. A
        plain function is pickled once, at its first call, with the globals that it uses.

        Raises:
            RuntimeError: The executor was shut down.
            BrokenProcessPool: The initializer failed, or no process can be started.
        """
        return self._submit(None, fn, args, kwargs)

    def submit_call(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: CallOptions
    ) -> Future[T]:
        """Do as `submit(fn, *args, **kwargs)` does, and end the call if it takes longer than `options.timeout` seconds.

        The time runs from the unpickling of the arguments in the worker until the result is back.
        Then the worker is killed, children and grandchildren first, and the future raises
        `amltk.exceptions.CallTimeoutError`. SIGKILL comes at once, so the call has no time to clean up.

        Raises:
            NotSupportedError: An option other than `timeout` is given.
            RuntimeError: The executor was shut down.
            BrokenProcessPool: The initializer failed, or no process can be started.
        """
        options.check_accepted(self.accepts_options, type(self).__name__)
        return self._submit(options.timeout, fn, args, dict(kwargs))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **options: Any,
    ) -> Iterator[T]:
        """Call `fn` with the items of `iterables`, and return an iterator of the results, in their order.

        When a call raises, or the iterator is closed, calls that have not begun are cancelled, and calls
        that run go on.

        Args:
            fn: The function.
            *iterables: One for each positional argument, read at once.
            timeout: How many seconds, from now, the iterator waits for a result before it raises `TimeoutError`.
            chunksize: Has no effect: short calls travel in batches anyway.
            **options: Other options of `concurrent.futures.Executor.map` in this version of Python.

        Raises:
            ValueError: `chunksize` is below 1.
        """
        if chunksize < 1:
            msg = f"chunksize must be at least 1, got {chunksize!r}."
            raise ValueError(msg)
        return Executor.map(self._for_map, fn, *iterables, timeout=timeout, **options)

    def _submit(
        self, timeout: float | None, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[T]:
        future: PoolFuture[T] = PoolFuture(self._end_cancelled, self._ends_running)
        try:
            function, data, buffers = self._pickler.pickle(fn, args, kwargs)
        except FAILURES as error:
            self._dispatcher.check_open()
            future.set_running_or_notify_cancel()
            future.set_exception(error)
        else:
            self._dispatcher.submit(Call(future, fn, args, kwargs, timeout, function, data, buffers))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and release the processes when all calls have ended.

        Args:
            wait: Return when nothing is left: no call, process, thread or descriptor.
            cancel_futures: Cancel the calls that have not begun; those that run are not ended.
        """
        self._dispatcher.stop(cancel_pending=cancel_futures)
        if wait:
            self._dispatcher.join()

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        """Shut down, and return when nothing is left; after Ctrl-C, without waiting for running calls.

        A terminal's Ctrl-C reaches the workers of other pools. It does not reach ours, so the program decides what to
        end: a `KeyboardInterrupt` that leaves the block ends them, as `kill_workers` does.
        """
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self.kill_workers()
        else:
            self.shutdown(wait=True)

    def kill_calls(self) -> None:
        """End all calls that there are now, and return when they are gone; the executor stays usable.

        Calls that have not begun are cancelled. Those that run fail with `WorkerDied`: their workers
        are ended, with children and grandchildren, by SIGTERM, and SIGKILL after two seconds; new
        ones take their places. Called from a callback of a future, this method returns at once.
        """
        self._dispatcher.kill_calls()

    def kill_workers(self) -> None:
        """End workers, their children and grandchildren now, and return when they are gone.

        They get SIGTERM, and SIGKILL after two seconds. Calls that have not begun are cancelled,
        those that run fail with `WorkerDied`; the executor is shut down. Called from a callback of
        a future, this method returns at once, and the workers are ended after the callback.
        """
        self._dispatcher.stop(kill=True)
        self._dispatcher.join()
