"""What can happen: the name of an event, with what its callbacks receive as its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, ParamSpec

from amltk.checks import check_type

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")


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
