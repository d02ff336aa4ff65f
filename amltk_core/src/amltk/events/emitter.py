"""`Emitter`, whose events call callbacks, and `Subscriber`, which registers and removes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from amltk.checks import check_callable, did_you_mean
from amltk.events import handler as _handler
from amltk.events.event import Event, events_of
from amltk.events.handler import EventState, Handler, Supervisor, Unsupervised, name_of_callback
from amltk.exceptions import DuplicateEventError, UnknownEventError
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from typing import Self, Unpack

    from amltk.events.handler import CallbackOptions

P = ParamSpec("P")
R = TypeVar("R")

_ONCE = (0,)

Observer = Callable[["Emitter", "Event[...]", tuple[Any, ...], Mapping[str, Any]], None]

observer: Observer | None = None
"""Called for every event of every emitter. `amltk.plugins.hooks` sets it when a plugin listens; otherwise it costs
nothing."""


def _nothing() -> None:
    """Default of `callback`: the decorator gets the callback later."""


class Subscriber(Generic[P]):
    """Registers callbacks for one event of one emitter; `scheduler.on_start` is one.

    Example:
        ```python
        @scheduler.on_start
        def begin() -> None: ...


        @scheduler.on_start(repeat=3)
        def begin_thrice() -> None: ...


        scheduler.on_start(begin)
        scheduler.on_start.remove(begin)
        ```
    """

    __slots__ = ("emitter", "event")

    # The overloads, here and in `Emitter.on`, forget the callback's parameters once they have checked them. To return
    # `Callable[P, R]` would narrow the function to what this one event passes, and so forbid to stack decorators of
    # events that pass something else; no type says "the very function that was given, if it can be called so".

    def __init__(self, emitter: Emitter, event: Event[P]) -> None:
        """Register callbacks for `event` of `emitter`."""
        self.emitter = emitter
        self.event = event

    def __repr__(self) -> str:
        return f"<Subscriber of {str(self.event)!r} of {self.emitter!r}>"

    @overload
    def __call__(self, callback: Callable[P, R], /, **options: Unpack[CallbackOptions]) -> Callable[..., R]: ...

    @overload
    def __call__(self, **options: Unpack[CallbackOptions]) -> Callable[[Callable[P, R]], Callable[..., R]]: ...

    def __call__(self, *callback: Callable[P, Any], **options: Any) -> Any:
        """Register a callback, as a decorator or by a plain call; see `Emitter.on` for the options."""
        return self.emitter.on(self.event, *callback, **options)

    def remove(self, callback: Callable[..., object]) -> None:
        """Unregister a callback, even if it is registered several times for this event.

        It is not called again, not even in the current emission. An `async def` callback that has started
        continues.

        Raises:
            ValueError: It is not registered for this event; the message lists the registered callbacks.
            TypeError: It cannot be called.
        """
        check_callable("callback", callback)
        handlers = self.emitter.handlers[self.event]
        removed = [handler for handler in handlers if handler.calls_what(callback)]
        if not removed:
            raise ValueError(self._not_registered(callback, [handler.name for handler in handlers]))
        self.emitter._drop(self.event, removed)

    def clear(self) -> None:
        """Unregister all callbacks of this event, except those of plugins.

        Use it in the first line of a notebook's cell: each run of a cell makes new functions, unknown to `remove`.
        """
        self.emitter._drop(self.event, [each for each in self.emitter.handlers[self.event] if not each.of_plugin])

    def _not_registered(self, callback: Callable[..., object], registered: list[str]) -> str:
        name, event = name_of_callback(callback), str(self.event)
        msg = (
            f"{name} is not registered for {event!r} of {self.emitter!r}. "
            f"Registered callbacks: {', '.join(registered) or 'none'}."
        )
        if name in registered:
            msg += (
                f" That {name} is another object: a definition that is run again makes a new one. Remove the object "
                "that was registered, or all callbacks of the event by clear()."
            )
        return msg

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Emit the event."""
        self.emitter.emit(self.event, *args, **kwargs)


class Subscribes(Generic[P]):
    """Descriptor that returns the `Subscriber` of an event, as in `on_hot = Subscribes(HOT)`."""

    __slots__ = ("event",)

    def __init__(self, event: Event[P]) -> None:
        """Return subscribers of `event`, an attribute of the same class."""
        self.event = event

    def __repr__(self) -> str:
        return f"Subscribes({self.event!r})"

    @overload
    def __get__(self, emitter: None, owner: type) -> Self: ...

    @overload
    def __get__(self, emitter: Emitter, owner: type) -> Subscriber[P]: ...

    def __get__(self, emitter: Emitter | None, owner: type) -> Self | Subscriber[P]:
        return self if emitter is None else emitter.subscriber(self.event)


class Emitter:
    """Base class of objects that emit events.

    The events among its class attributes are its events; `add_event` adds events to one object.

    Example:
        ```python
        class Kettle(Emitter):
            HOT: Event[[float]] = Event("hot", "The water is hot; callbacks receive the degrees.")
            on_hot = Subscribes(HOT)


        kettle = Kettle()


        @kettle.on_hot(limit=1)
        def tell(degrees: float) -> None:
            print(degrees)


        kettle.emit(Kettle.HOT, 96.5)
        ```
    """

    def __init__(self, name: str | None = None) -> None:
        """Make an emitter; its name, by default that of its class, appears in errors."""
        self.name = name or type(self).__name__
        self._states: dict[Event[...], EventState] = {}
        self.add_event(*events_of(type(self)))

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}>" if self.name == type(self).__name__ else f"<{type(self).__name__} {self.name!r}>"
        )

    @property
    def events(self) -> tuple[Event[...], ...]:
        """The events of this emitter."""
        return tuple(self._states)

    @property
    def event_counts(self) -> Counter[str]:
        """The number of emissions so far, by event or by its name."""
        return Counter({event: state.count for event, state in self._states.items() if state.count})

    @property
    def handlers(self) -> Mapping[Event[...], tuple[Handler, ...]]:
        """The registered callbacks of each event, in the order of their calls."""
        return MappingProxyType({event: state.handlers for event, state in self._states.items()})

    def add_event(self, *events: Event[...]) -> None:
        """Add events to this object: all of them, or none.

        Raises:
            DuplicateEventError: It has an event of that name already.
            TypeError: One is not an `Event`.
        """
        names = set(self._states)
        for event in events:
            if not isinstance(event, Event):
                msg = f"{self!r} takes objects of class Event, got {event!r} of type {type(event).__name__}."
                raise TypeError(msg)
            if event in names:
                msg = f"{self!r} has an event {str(event)!r} already; give the new one another name."
                raise DuplicateEventError(msg)
            names.add(event)
        self._states |= {event: EventState() for event in events}

    @overload
    def subscriber(self, event: Event[P]) -> Subscriber[P]: ...  # type: ignore[overload-overlap] # an event is a string

    @overload
    def subscriber(self, event: str) -> Subscriber[...]: ...

    def subscriber(self, event: str) -> Subscriber[...]:
        """Return the `Subscriber` of an event or of its name.

        Raises:
            UnknownEventError: The emitter has no such event.
        """
        return Subscriber(self, self._known(event))

    @overload
    def on(self, event: Event[P], callback: Callable[P, R], **options: Unpack[CallbackOptions]) -> Callable[..., R]: ...

    @overload
    def on(
        self, event: Event[P], **options: Unpack[CallbackOptions]
    ) -> Callable[[Callable[P, R]], Callable[..., R]]: ...

    @overload
    def on(self, event: str, callback: Callable[..., R], **options: Unpack[CallbackOptions]) -> Callable[..., R]: ...

    @overload
    def on(self, event: str, **options: Unpack[CallbackOptions]) -> Callable[[Callable[..., R]], Callable[..., R]]: ...

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
            callback: The function to call with the arguments of the event. If it is an `async def`
                function, the run awaits it.
            when: Called at each emission; if it returns False, the emission does not count.
            limit: The total number of calls, after which the callback is ignored.
            repeat: The number of calls for each emission; an exception ends them.
            every: Call it at the 1st, (`every` + 1)th, (2 `every` + 1)th, ... emission.

        Returns:
            The callback as it was given, so that decorators can be stacked.

        Raises:
            UnknownEventError: The emitter has no such event; the message lists its events.
            TypeError: The callback or `when` cannot be called, or a number is not an integer.
            ValueError: A number is below 1.
        """
        known: Event[...] = self._known(event)
        handler = Handler(callback, when=when, limit=limit, repeat=repeat, every=every)
        if callback is _nothing:  # a wrong option was an error here, not where the function is decorated
            return lambda function: self.on(known, function, when=when, limit=limit, repeat=repeat, every=every)
        self._states[known].handlers += (handler,)
        return callback

    def _drop(self, event: Event[...], handlers: list[Handler]) -> None:
        state = self._states[event]
        state.handlers = tuple(each for each in state.handlers if each not in handlers)
        for handler in handlers:
            handler.retire()

    def emit(self, event: Event[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Emit an event: call its callbacks with the arguments, in the order of their registration.

        All callbacks are called, even if some of them raise. A callback that is registered during the
        emission is called from the next emission on; one that is removed is not called any more.

        Raises:
            UnknownEventError: The emitter has no such event.
            Exception: The exception of a callback, if the emitter has no supervisor; an `ExceptionGroup` of
                several.
        """
        state = self._states.get(event)
        if state is None:
            state = self._states[self._known(event)]  # which raises
        state.count += 1
        handlers = state.handlers
        if not handlers and observer is None:  # the common case
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
        supervisor = self._supervisor() or Unsupervised(self)
        begun = monotonic()
        for handler in handlers:
            try:
                for _ in _ONCE if handler.always else range(handler.due()):
                    if handler.limit is not None and handler.calls >= handler.limit:
                        break  # checked each time: the callback may have emitted the event itself
                    handler.calls += 1
                    outcome = handler.callback(*args, **kwargs)
                    if type(outcome) is CoroutineType:
                        supervisor.callback_started(event, handler, outcome)
            except BaseException as error:
                supervisor.callback_failed(event, handler, error)
            ended = monotonic()
            if ended - begun > _handler.BLOCKING_SECONDS:
                supervisor.callback_blocked(event, handler, ended - begun)
            begun = ended
        if isinstance(supervisor, Unsupervised):
            supervisor.raise_errors(event)

    def _supervisor(self) -> Supervisor | None:
        """Return the supervisor of callbacks; None lets `emit()` raise their errors."""
        return None

    def _known(self, event: Event[P] | str) -> Event[P]:
        for known in self._states:
            if known == event:
                return known  # type: ignore[return-value] # equal names, hence the same arguments
        listed = ", ".join(self._states) or "none"
        msg = f"{self!r} has no event {str(event)!r}.{did_you_mean(str(event), self._states)} Its events are: {listed}."
        raise UnknownEventError(msg)
