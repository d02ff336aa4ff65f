"""Events, those who emit them, and the callbacks that are called.

    Emitter ── has ──> Event            a name, and what its callbacks receive
       │                 │
       │ subscriber()    │ on()         Subscriber: the decorator that registers a callback
       v                 v
    emit(event, ...) ──> Handler ──> callback(...)
                         when, every, limit, repeat

Callbacks are called in the order of their registration. One that raises keeps nobody else from
being called; what becomes of its error is for the emitter's `Supervisor` to say, and without one
it leaves `emit()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from time import monotonic
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from amltk.calls import describe_value
from amltk.checks import check_callable, check_callback, check_int, check_type, did_you_mean
from amltk.exceptions import DuplicateEventError, UnknownEventError
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")

_ONCE = (0,)

BLOCKING_SECONDS = 1.0
"""A callback that takes longer is reported: while it runs, no other is called and no result delivered."""

Observer = Callable[["Emitter", "Event[...]", tuple[Any, ...], Mapping[str, Any]], None]

observer: Observer | None = None
"""Told of every event, of whatever emitter. Set by `amltk.plugins` when a plugin listens, so that
nobody pays for it otherwise."""


class Event(str, Generic[P]):
    """The name of something that happens, with what callbacks receive as its type.

    An event is a string: it equals its name, and either can be used where an event is asked for.

    Example:
        >>> HOT: Event[[float]] = Event("hot", "The water is hot; callbacks receive the degrees.")
        >>> HOT == "hot"
        True
    """

    __slots__ = ("description",)

    description: str

    def __new__(cls, name: str, description: str = "") -> Self:
        """Name an event; say in `description` when it is emitted and what callbacks receive."""
        check_type("name", name, str)
        if not name:
            msg = "name must not be empty: it is what the event is registered for and counted by."
            raise ValueError(msg)
        event = super().__new__(cls, name)
        event.description = description
        return event

    @property
    def name(self) -> str:
        """The name, as an ordinary string."""
        return str(self)

    def __repr__(self) -> str:
        return f"Event({str(self)!r})"


def events_of(cls: type) -> tuple[Event[...], ...]:
    """Return the events among the attributes of a class, inherited ones first; what is overridden does not count."""
    attributes: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        attributes |= vars(base)
    # Two names for one object are one event; two objects of one name are left for `add_event` to refuse.
    return tuple({id(value): value for value in attributes.values() if isinstance(value, Event)}.values())


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
    """

    __slots__ = ("_emissions", "always", "callback", "calls", "every", "limit", "repeat", "when")

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

    @property
    def name(self) -> str:
        """The callback's name."""
        return getattr(self.callback, "__qualname__", None) or describe_value(self.callback)

    @calls_user_code
    def due(self) -> int:
        """Count an emission, and return how often the callback is to be called for it."""
        if self.when is not None and not self.when():
            return 0
        self._emissions += 1
        if (self._emissions - 1) % self.every:
            return 0
        return self.repeat


def _nothing() -> None:
    """Stand in for a callback that is given later, to the decorator."""


class Subscriber(Generic[P]):
    """Registers callbacks for one event of one emitter; `scheduler.on_start` is one.

    Example:
        ```python
        @scheduler.on_start
        def begin() -> None: ...


        @scheduler.on_start(repeat=3)
        def begin_thrice() -> None: ...


        scheduler.on_start(begin)
        ```
    """

    __slots__ = ("emitter", "event")

    # The overloads, here and in `Emitter.on`, forget the callback's parameters once they have checked them. To return
    # `Callable[P, R]` would narrow the function to what this one event passes, and so forbid to stack decorators of
    # events that pass something else; no type says "the very function that was given, if it can be called so".

    def __init__(self, emitter: Emitter, event: Event[P]) -> None:
        """Belong to `event` of `emitter`."""
        self.emitter = emitter
        self.event = event

    def __repr__(self) -> str:
        return f"<Subscriber of {str(self.event)!r} of {self.emitter!r}>"

    @overload
    def __call__(
        self,
        callback: Callable[P, R],
        /,
        *,
        when: Callable[[], bool] | None = ...,
        limit: int | None = ...,
        repeat: int = ...,
        every: int = ...,
    ) -> Callable[..., R]: ...

    @overload
    def __call__(
        self,
        *,
        when: Callable[[], bool] | None = ...,
        limit: int | None = ...,
        repeat: int = ...,
        every: int = ...,
    ) -> Callable[[Callable[P, R]], Callable[..., R]]: ...

    def __call__(self, *callback: Callable[P, Any], **options: Any) -> Any:
        """Register a callback, as a decorator or by a plain call; see `Emitter.on` for the options."""
        return self.emitter.on(self.event, *callback, **options)

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Emit the event."""
        self.emitter.emit(self.event, *args, **kwargs)


class Emitter:
    """Something that events happen to. Subclass it to make an event-driven object of your own.

    Class attributes that are events are the emitter's events; `add_event` adds to one object.

    Example:
        ```python
        class Kettle(Emitter):
            HOT: Event[[float]] = Event("hot", "The water is hot; callbacks receive the degrees.")

            def __init__(self) -> None:
                super().__init__()
                self.on_hot = self.subscriber(self.HOT)


        kettle = Kettle()


        @kettle.on_hot(limit=1)
        def tell(degrees: float) -> None:
            print(degrees)


        kettle.emit(Kettle.HOT, 96.5)
        ```
    """

    def __init__(self, name: str | None = None) -> None:
        """Name the emitter, for those who read its errors; the class's name is the default."""
        self.name = name or type(self).__name__
        self._handlers: dict[Event[...], tuple[Handler, ...]] = {}
        self._counts: dict[Event[...], int] = {}
        self.add_event(*events_of(type(self)))

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}>" if self.name == type(self).__name__ else f"<{type(self).__name__} {self.name!r}>"
        )

    @property
    def events(self) -> tuple[Event[...], ...]:
        """The events that it can emit."""
        return tuple(self._handlers)

    @property
    def event_counts(self) -> Counter[str]:
        """How often each event was emitted so far: events, or their names, to numbers."""
        return Counter({event: count for event, count in self._counts.items() if count})

    @property
    def handlers(self) -> Mapping[Event[...], tuple[Handler, ...]]:
        """The registered callbacks of each event, in the order in which they are called."""
        return MappingProxyType(self._handlers)

    def add_event(self, *events: Event[...]) -> None:
        """Add events to this one object.

        Raises:
            DuplicateEventError: It has an event of that name already.
            TypeError: One is not an `Event`.
        """
        for event in events:
            if not isinstance(event, Event):
                msg = f"{self!r} takes objects of class Event, got {event!r} of type {type(event).__name__}."
                raise TypeError(msg)
            if event in self._handlers:
                msg = f"{self!r} has an event {str(event)!r} already; give the new one another name."
                raise DuplicateEventError(msg)
            self._handlers[event] = ()
            self._counts[event] = 0

    def subscriber(self, event: Event[P]) -> Subscriber[P]:
        """Return what registers callbacks for `event`, to be kept as an attribute such as `on_hot`.

        Raises:
            UnknownEventError: The emitter has no such event.
        """
        return Subscriber(self, self._known(event))

    @overload
    def on(
        self,
        event: Event[P],
        callback: Callable[P, R],
        *,
        when: Callable[[], bool] | None = ...,
        limit: int | None = ...,
        repeat: int = ...,
        every: int = ...,
    ) -> Callable[..., R]: ...

    @overload
    def on(
        self,
        event: Event[P],
        *,
        when: Callable[[], bool] | None = ...,
        limit: int | None = ...,
        repeat: int = ...,
        every: int = ...,
    ) -> Callable[[Callable[P, R]], Callable[..., R]]: ...

    @overload
    def on(
        self,
        event: str,
        callback: Callable[..., R],
        *,
        when: Callable[[], bool] | None = ...,
        limit: int | None = ...,
        repeat: int = ...,
        every: int = ...,
    ) -> Callable[..., R]: ...

    @overload
    def on(
        self,
        event: str,
        *,
        when: Callable[[], bool] | None = ...,
        limit: int | None = ...,
        repeat: int = ...,
        every: int = ...,
    ) -> Callable[[Callable[..., R]], Callable[..., R]]: ...

    def on(
        self,
        event: str,
        callback: Callable[..., Any] = _nothing,
        *,
        when: Callable[[], bool] | None = None,
        limit: int | None = None,
        repeat: int = 1,
        every: int = 1,
    ) -> Any:
        """Register a callback for an event; without a callback, return a decorator that does.

        Args:
            event: The event, or its name.
            callback: What is called with what the event is emitted with. If it is an `async def`
                function, the run awaits it.
            when: Asked at each emission; if it says False, the emission does not count.
            limit: How often the callback is called in all; afterwards it is ignored.
            repeat: How often it is called each time; when it raises, not again that time.
            every: It is called at the 1st, (`every` + 1)th, ... emission.

        Returns:
            The callback as it was given, so that decorators can be stacked.

        Raises:
            UnknownEventError: The emitter has no such event; its events are listed.
            TypeError: The callback or `when` cannot be called, or a number is not an integer.
            ValueError: A number is below 1.
        """
        known: Event[...] = self._known(event)
        handler = Handler(callback, when=when, limit=limit, repeat=repeat, every=every)
        if callback is _nothing:  # a wrong option was an error here, not where the function is decorated
            return lambda function: self.on(known, function, when=when, limit=limit, repeat=repeat, every=every)
        self._handlers[known] = (*self._handlers[known], handler)
        return callback

    def emit(self, event: Event[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Emit an event: call its callbacks with the arguments, in the order of their registration.

        All callbacks are called, also when some of them raise. A callback that is registered
        meanwhile is called from the next emission on.

        Raises:
            UnknownEventError: The emitter has no such event.
            Exception: What a callback raised, if nobody supervises the emitter; if several did,
                an `ExceptionGroup` of it.
        """
        handlers = self._handlers.get(event)
        if handlers is None:
            handlers = self._handlers[self._known(event)]  # which raises
        self._counts[event] += 1
        if not handlers and observer is None:  # as most are
            return
        if type(event) is str:  # its name
            event = self._known(event)
        try:
            if handlers:
                self._call(event, handlers, args, kwargs)
        finally:
            if observer is not None:
                observer(self, event, args, kwargs)

    @calls_user_code
    def _call(
        self, event: Event[...], handlers: Iterable[Handler], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        supervisor = self._supervisor() or _Unsupervised(self)
        begun = monotonic()
        for handler in handlers:
            try:
                for _ in _ONCE if handler.always else range(handler.due()):
                    if handler.limit is not None and handler.calls >= handler.limit:
                        break  # looked at each time: the callback may have emitted the event itself
                    handler.calls += 1
                    outcome = handler.callback(*args, **kwargs)
                    if type(outcome) is CoroutineType:
                        supervisor.callback_started(event, handler, outcome)
            except BaseException as error:
                supervisor.callback_failed(event, handler, error)
            ended = monotonic()
            if ended - begun > BLOCKING_SECONDS:
                supervisor.callback_blocked(event, handler, ended - begun)
            begun = ended
        if isinstance(supervisor, _Unsupervised):
            supervisor.raise_errors(event)

    def _supervisor(self) -> Supervisor | None:
        """Who answers for callbacks just now; None lets their errors leave `emit()`."""
        return None

    def _known(self, event: Event[P] | str) -> Event[P]:
        for known in self._handlers:
            if known == event:
                return known  # type: ignore[return-value] # equal names, hence the same arguments
        listed = ", ".join(self._handlers) or "none"
        msg = (
            f"{self!r} has no event {str(event)!r}.{did_you_mean(str(event), self._handlers)} Its events are: {listed}."
        )
        raise UnknownEventError(msg)


class _Unsupervised:
    """Lets the errors of callbacks leave `emit()`, once all callbacks have been called."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._errors: list[Exception] = []

    def callback_failed(self, _event: Event[...], _handler: Handler, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error  # an interrupt, or sys.exit(): nothing more is done
        self._errors.append(error)

    def callback_started(self, event: Event[...], handler: Handler, coroutine: Coroutine[Any, Any, Any]) -> None:
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
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            msg = f"{len(self._errors)} callbacks of {str(event)!r} of {self._emitter!r} raised"
            raise ExceptionGroup(msg, self._errors)
