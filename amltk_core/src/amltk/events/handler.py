"""Registered callbacks: when each is called, and how its errors are handled."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import BuiltinMethodType, MethodType, MethodWrapperType
from typing import TYPE_CHECKING, Any, Protocol

from amltk.checks import check_callable, check_callback, check_int
from amltk.describe import describe_value
from amltk.events.event import Event
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from typing import TypedDict

    class CallbackOptions(TypedDict, total=False):
        """When a callback is called; see `Emitter.on`."""

        when: Callable[[], bool] | None
        limit: int | None
        repeat: int
        every: int


BLOCKING_SECONDS = 1.0
"""Callbacks that take longer are reported: meanwhile no other is called and no result delivered."""

_METHODS = (MethodType, BuiltinMethodType, MethodWrapperType)
"""Types of bound methods: each access of `x.append` makes a new object, equal to the last one."""

_for_plugin: ContextVar[bool] = ContextVar("amltk: a plugin registers callbacks", default=False)


@contextmanager
def callbacks_of_plugin() -> Iterator[None]:
    """Mark the callbacks registered inside as a plugin's, which `Subscriber.clear` keeps."""
    token = _for_plugin.set(True)
    try:
        yield
    finally:
        _for_plugin.reset(token)


def name_of_callback(callback: object) -> str:
    """Return the callback's name, for messages."""
    return getattr(callback, "__qualname__", None) or describe_value(callback)


class Supervisor(Protocol):
    """Handles errors of callbacks, and awaits those that are coroutines."""

    def callback_failed(self, event: Event[...], handler: Handler, error: BaseException) -> None:
        """Handle the `error` that the callback of `handler` raised."""

    def callback_started(self, event: Event[...], handler: Handler, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Await the `coroutine` of an `async def` callback, now or later."""

    def callback_blocked(self, event: Event[...], handler: Handler, seconds: float) -> None:
        """Report a callback that blocked its thread for `seconds`."""


class Handler:
    """A callback registered for an event, and when it is to be called.

    Attributes:
        callback: The registered function.
        calls: The number of its calls so far.
        always: Whether it is called once for every emission, so that `due` is not needed.
        of_plugin: Whether a plugin registered it.
    """

    __slots__ = ("_emissions", "always", "callback", "calls", "every", "limit", "of_plugin", "repeat", "when")

    def __init__(
        self,
        callback: Callable[..., object],
        *,
        when: Callable[[], bool] | None = None,
        limit: int | None = None,
        repeat: int = 1,
        every: int = 1,
    ) -> None:
        """Check and keep the arguments of `Emitter.on`."""
        check_callback("callback", callback)
        if when is not None:
            check_callable("when", when)
        check_int("limit", limit, at_least=1, or_none=True)
        check_int("repeat", repeat, at_least=1)
        check_int("every", every, at_least=1)
        self.callback = callback
        self.when = when
        self.limit = limit
        self.repeat = repeat
        self.every = every
        self.calls = 0
        self._emissions = 0
        self.always = when is None and limit is None and repeat == 1 and every == 1
        self.of_plugin = _for_plugin.get()

    @property
    def name(self) -> str:
        """The callback's name."""
        return name_of_callback(self.callback)

    def calls_what(self, callback: object) -> bool:
        """Return whether `callback` is registered here: the same object, or the same method of the same object."""
        if self.callback is callback:
            return True
        kind = type(callback)
        return kind in _METHODS and type(self.callback) is kind and self.callback == callback

    def retire(self) -> None:
        """Never call the callback again, not even in the current emission."""
        self.limit = 0  # checked before each call
        self.when = None

    @calls_user_code
    def due(self) -> int:
        """Count an emission, and return how often the callback is to be called for it."""
        if self.when is not None and not self.when():
            return 0
        self._emissions += 1
        if (self._emissions - 1) % self.every:
            return 0
        return self.repeat


class Unsupervised:
    """Collects errors of callbacks, and raises them from `emit()` after all callbacks were called."""

    def __init__(self, emitter: object) -> None:
        self._emitter = emitter
        self._errors: list[Exception] = []

    def callback_failed(self, _event: Event[...], _handler: Handler, error: BaseException) -> None:
        """Keep the error, if it is an `Exception`."""
        if not isinstance(error, Exception):
            raise error  # an interrupt, or sys.exit(): call no other callback
        self._errors.append(error)

    def callback_started(self, event: Event[...], handler: Handler, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Refuse the coroutine.

        Raises:
            TypeError: Always: there is no loop.
        """
        coroutine.close()
        msg = (
            f"The callback {handler.name} of {str(event)!r} of {self._emitter!r} is an 'async def' function, but there "
            "is no run to await it. Make it an ordinary function, or emit the event of a scheduler or task while that "
            "runs."
        )
        raise TypeError(msg)

    def callback_blocked(self, event: Event[...], handler: Handler, seconds: float) -> None:
        """Report nothing: only the caller of `emit` waits."""

    def raise_errors(self, event: Event[...]) -> None:
        """Raise the collected error, or an `ExceptionGroup` of several."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            msg = f"{len(self._errors)} callbacks of {str(event)!r} of {self._emitter!r} raised"
            raise ExceptionGroup(msg, self._errors)


@dataclass(slots=True)
class EventState:
    """The state of one event of one emitter.

    Attributes:
        handlers: The registered callbacks, in the order of their calls.
        count: The number of emissions so far.
    """

    handlers: tuple[Handler, ...] = ()
    count: int = 0
