"""What the user holds: the executor. Its work is done by a `Dispatcher`, which outlives it if need be."""

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
    future, those that take too long by `submit_call`, all by `kill_calls`, and with the
    executor itself by `kill_workers`. Nothing is left behind, in whatever way the main process ends.

    Callbacks of futures run in a thread of the executor's, as they do in the standard one.

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
        """Start nothing yet: processes are started by the calls that need them.

        Args:
            max_workers: How many processes there are at most; by default one for each processor
                that this process may use.
            mp_context: As of `multiprocessing.get_context(...)`, for how processes are started. `forkserver`, the
                default: as forks of a small process of their own, which is quick and safe. `spawn`: each anew.
                `fork`: with the memory of this program as it is at the first call, and the dangers of that.
            initializer: Called in each process before its first call. If it raises, the pool is
                broken: every call fails with `BrokenProcessPool`.
            initargs: Passed to `initializer`.
            max_tasks_per_child: After so many calls a process makes room for a new one; None keeps it.
            heartbeat_timeout: A process that gives no sign of life for so many seconds is ended and
                replaced, and its call fails with `WorkerLost`. None, the default, waits for ever.
            forward_logs: Log records and warnings of calls are handled by this process's loggers.
            preload: Names of modules that are imported before the first call: once, in the process of which
                workers are forks; with the start method `spawn`, in each worker. No limit of a call has to
                include the time that this takes. If one can't be imported, the pool is broken.

        Raises:
            TypeError: An option is of a wrong type.
            ValueError: A number is below 1, or `preload` has what is no module's name.
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
                self._pickler.pickle(fn, args, {})  # it fails too, and tells of nothing of ours
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
        self._end_cancelled = self._dispatcher.end_cancelled  # bound once: each future would keep a method of its own
        # What `map` submits by: it cancels the futures that it gives up, and what runs of these is to go on.
        self._ends_running = True
        self._for_map = copy.copy(self)
        self._for_map._ends_running = False
        # The thread knows nothing of this object: without it, it ends when the work is done.
        weakref.finalize(self, self._dispatcher.stop).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn(*args, **kwargs)` called in a worker.

        What can't be pickled fails the future, with an error that tells which part it was. The
        function is sent as it is at its first call here, with what it refers to.

        Raises:
            RuntimeError: The executor was shut down.
            BrokenProcessPool: The initializer failed, or no process can be started.
        """
        return self._submit(None, fn, args, kwargs)

    def submit_call(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: CallOptions
    ) -> Future[T]:
        """Do as `submit(fn, *args, **kwargs)` does, and end the call if it takes longer than `options.timeout` seconds.

        The time counts from when a worker begins the call, arguments still to be unpickled, until
        its result is back. Then its worker is killed, children and grandchildren first, and the
        future raises `amltk.exceptions.CallTimeoutError`. It is SIGKILL at once, to be exact: the
        call has no time to clean up.

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
        """Have `fn` called with the items of `iterables`, and return an iterator of the results, in their order.

        As of every executor. When a call raises, or one stops to iterate, those of the others that
        have not begun are cancelled, and those that run go on.

        Args:
            fn: What is called.
            *iterables: One for each positional argument, taken at once.
            timeout: How many seconds, from now, the iterator waits for a result before it raises `TimeoutError`.
            chunksize: Has no effect: short calls travel in batches anyway.
            **options: What else `concurrent.futures.Executor.map` takes in this version of Python.

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
        """Take no more calls, and release the processes when those that there are have been done.

        Args:
            wait: Come back when nothing is left: no call, process, thread or descriptor.
            cancel_futures: Cancel the calls that have not begun; those that run are not ended.
        """
        self._dispatcher.stop(cancel_pending=cancel_futures)
        if wait:
            self._dispatcher.join()

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        """Shut down, and come back when nothing is left; after Ctrl-C, without waiting for what runs.

        The workers of other pools hear a terminal's Ctrl-C themselves. Ours do not, so that a program can decide what
        becomes of them: a `KeyboardInterrupt` that leaves the block ends them, as `kill_workers` does.
        """
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self.kill_workers()
        else:
            self.shutdown(wait=True)

    def kill_calls(self) -> None:
        """End all calls that there are now, and come back when they are gone; the executor stays as usable as it was.

        Calls that have not begun are cancelled. Those that run fail with `WorkerDied`: their workers
        are ended, with children and grandchildren, by SIGTERM, and SIGKILL after two seconds; new
        ones take their places. Called from a callback of a future, it comes back at once.
        """
        self._dispatcher.kill_calls()

    def kill_workers(self) -> None:
        """End everything now, and come back when it is gone: workers, their children and grandchildren.

        They get SIGTERM, and SIGKILL after two seconds. Calls that have not begun are cancelled,
        those that run fail with `WorkerDied`; the executor is shut down. Called from a callback of
        a future, it comes back at once, and the rest happens when the callback is over.
        """
        self._dispatcher.stop(kill=True)
        self._dispatcher.join()
