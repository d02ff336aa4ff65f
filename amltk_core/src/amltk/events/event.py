"""`Event`: a name, typed by the arguments that callbacks receive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, ParamSpec

from amltk.checks import check_type

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")


class Event(str, Generic[P]):
    """The name of an event, typed by the arguments that callbacks receive.

    An event is a string and equals its name; every method that takes an event takes its name, too.

    Example:
        >>> HOT: Event[[float]] = Event("hot", "The water is hot; callbacks receive the degrees.")
        >>> HOT == "hot"
        True
    """

    __slots__ = ("description",)

    description: str

    def __new__(cls, name: str, description: str = "") -> Self:
        """Make an event; `description` states when it is emitted and what callbacks receive."""
        check_type("name", name, str)
        if not name:
            msg = "name must not be empty: it is what the event is registered for and counted by."
            raise ValueError(msg)
        event = super().__new__(cls, name)
        event.description = description
        return event

    @property
    def name(self) -> str:
        """The name, as a plain `str`."""
        return str(self)

    def __repr__(self) -> str:
        return f"Event({str(self)!r})"


def events_of(cls: type) -> tuple[Event[...], ...]:
    """Return the events among the attributes of a class, inherited ones first, without overridden ones."""
    attributes: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        attributes |= vars(base)
    # Two attributes of one object are one event; `add_event` refuses two objects of one name.
    return tuple({id(value): value for value in attributes.values() if isinstance(value, Event)}.values())
