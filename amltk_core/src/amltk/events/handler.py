"""A registered callback, when it is called, and who deals with its errors."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
"""A callback that takes longer is reported: while it runs, no other is called and no result delivered."""

_METHODS = (MethodType, BuiltinMethodType, MethodWrapperType)
"""Each `x.append` is a new object, equal to the one before."""

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
    """Answers for callbacks: for what they raise, and for those that have to be awaited."""

    def callback_failed(self, event: Event[...], handler: Handler, error: BaseException) -> None:
        """Deal with the `error` that the callback of `handler` raised."""

    def callback_started(self, event: Event[...], handler: Handler, coroutine: Coroutine[Any, Any, Any]) -> None:
        """See that the `coroutine` of an `async def` callback is awaited."""

    def callback_blocked(self, event: Event[...], handler: Handler, seconds: float) -> None:
        """Hear of a callback that took so long that nothing else could happen meanwhile."""


class Handler:
    """A callback registered for an event, and when it is to be called.

    Attributes:
        callback: What is called.
        calls: How often it was.
        always: Whether it is called once for every emission, so that `due` need not be asked.
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
        """Check and keep what `Emitter.on` was given."""
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
        """Say whether this is a registration of `callback`: the same object, or the same method of the same object."""
        if self.callback is callback:
            return True
        kind = type(callback)
        return kind in _METHODS and type(self.callback) is kind and self.callback == callback

    def retire(self) -> None:
        """Call the callback no more, not even in an emission that is under way."""
        self.limit = 0  # looked at before each call
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
    """Lets the errors of callbacks leave `emit()`, once all callbacks have been called."""

    def __init__(self, emitter: object) -> None:
        self._emitter = emitter
        self._errors: list[Exception] = []

    def callback_failed(self, _event: Event[...], _handler: Handler, error: BaseException) -> None:
        """Keep the error, if it is an `Exception`."""
        if not isinstance(error, Exception):
            raise error  # an interrupt, or sys.exit(): nothing more is done
        self._errors.append(error)

    def callback_started(self, event: Event[...], handler: Handler, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Refuse it.

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
        """Nobody waits meanwhile who could not see it."""

    def raise_errors(self, event: Event[...]) -> None:
        """Raise what callbacks raised, several errors as an `ExceptionGroup`."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            msg = f"{len(self._errors)} callbacks of {str(event)!r} of {self._emitter!r} raised"
            raise ExceptionGroup(msg, self._errors)
