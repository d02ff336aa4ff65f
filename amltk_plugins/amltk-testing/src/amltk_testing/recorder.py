"""A recorder of events. Its assertions fail with a list of the recorded events."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from amltk.checks import did_you_mean
from amltk.events import Emitter, Event
from amltk.exceptions import UnknownEventError


class Recorded(NamedTuple):
    """One emission.

    Attributes:
        emitter: Who emitted.
        event: Which event.
        args: What its callbacks received.
        kwargs: Likewise.
    """

    emitter: Emitter
    event: Event[...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class EventRecorder:
    """Records every event of some emitters: schedulers, tasks, or objects of your own.

    Example:
        ```python
        recorder = EventRecorder(scheduler, task)
        scheduler.run()
        recorder.assert_order("on_start", "on_result", "on_finished")
        recorder.assert_counts(on_result=3, on_exception=0)
        ```

    Attributes:
        recorded: The emissions, in their order.
    """

    def __init__(self, *emitters: Emitter) -> None:
        """Begin to record the events that the emitters have now."""
        self.recorded: list[Recorded] = []
        self._events = sorted({str(event) for emitter in emitters for event in emitter.events})
        for emitter in emitters:
            for event in emitter.events:
                emitter.on(event, self._callback(emitter, event))

    def _callback(self, emitter: Emitter, event: Event[...]) -> Any:
        def record(*args: Any, **kwargs: Any) -> None:
            self.recorded.append(Recorded(emitter, event, args, kwargs))

        return record

    @property
    def names(self) -> list[str]:
        """The names of what was emitted, in that order."""
        return [str(each.event) for each in self.recorded]

    def received(self, event: str) -> list[tuple[Any, ...]]:
        """Return the positional arguments of each emission of `event`.

        Raises:
            UnknownEventError: No recorded emitter has such an event; nor do the assertions below take it.
        """
        self._check(event)
        return [each.args for each in self.recorded if each.event == event]

    def of(self, future: object) -> list[str]:
        """Return the names of the events that were about a future: its first argument was that."""
        return [str(each.event) for each in self.recorded if each.args and each.args[0] is future]

    def assert_order(self, *events: str) -> None:
        """Assert that these events were emitted in this order, others between them or not.

        Raises:
            AssertionError: One is missing from its place; it is named, with all that was emitted.
        """
        self._check(*events)
        names = iter(self.names)
        for position, event in enumerate(events):
            if event not in names:
                after = f" after {events[position - 1]!r}" if position else ""
                self._fail(f"{str(event)!r} was not emitted{after}")

    def assert_counts(self, **counts: int) -> None:
        """Assert how often events were emitted, by their names: `assert_counts(on_result=3)`.

        Raises:
            AssertionError: The number of one differs.
        """
        self._check(*counts)
        emitted = Counter(self.names)
        for event, count in counts.items():
            if emitted[event] != count:
                self._fail(f"{event!r} was emitted {emitted[event]} times, not {count}")

    def assert_last(self, event: str) -> None:
        """Assert that nothing was emitted after `event`.

        Raises:
            AssertionError: Something was, or `event` never was.
        """
        self._check(event)
        if self.names[-1:] != [event]:
            self._fail(f"{str(event)!r} was not the last event")

    def assert_calls_ended_once(self) -> None:
        """Assert of each accepted call that it ended in exactly one of result, exception, cancelled.

        Looks at the events `on_future_...` of a recorded scheduler.

        Raises:
            AssertionError: One did not, or ended before it was submitted; it is named.
        """
        ends = {"on_future_result", "on_future_exception", "on_future_cancelled"}
        for (future,) in self.received("on_future_submitted"):
            names = [name for name in self.of(future) if name.startswith("on_future")]
            if names[:1] != ["on_future_submitted"] or sum(name in ends for name in names) != 1:
                self._fail(f"{future!r} had the events {names}")
        submitted = {id(args[0]) for args in self.received("on_future_submitted")}
        for end in ends:
            for future, *_ in self.received(end):
                if id(future) not in submitted:
                    self._fail(f"{future!r} had {end!r} and was never submitted")

    def _check(self, *events: str) -> None:
        for event in events:
            if str(event) not in self._events:
                listed = ", ".join(self._events) or "none"
                msg = (
                    f"No recorded emitter has an event {str(event)!r}.{did_you_mean(str(event), self._events)} "
                    f"Their events are: {listed}."
                )
                raise UnknownEventError(msg)

    def _fail(self, what: str) -> None:
        counted = [f"{number:>4}  {name}" for number, name in enumerate(self.names)]
        raise AssertionError("\n".join([f"{what}. Emitted:", *(counted or ["      nothing"])]))
