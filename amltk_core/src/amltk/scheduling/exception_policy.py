"""The policy for exceptions: the argument `on_exception=` of `run()`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Literal

from amltk.checks import did_you_mean

ActionName = Literal["raise", "end", "ignore", "continue"]
OnException = ActionName | Mapping[type[BaseException], ActionName]
"""One action for all exceptions, or one for each type; "continue" is the same as "ignore"."""


class Action(Enum):
    """The reaction of a run to an exception."""

    RAISE = "raise"
    """End the run; `run()` raises the exception."""

    END = "end"
    """End the run; the exception is in the `ExitState`."""

    IGNORE = "ignore"
    """Continue."""


class Policy:
    """Chooses the action for each exception."""

    def __init__(self, on_exception: OnException) -> None:
        """Check and keep the argument `on_exception=`.

        Raises:
            ValueError: No action has that name.
            TypeError: It is neither a name nor a mapping from exception types to names.
        """
        self._by_type: tuple[tuple[type[BaseException], Action], ...]
        if isinstance(on_exception, Mapping):
            for kind in on_exception:
                if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                    msg = (
                        f"The keys of on_exception must be exception types, got {kind!r} of type {type(kind).__name__}."
                    )
                    raise TypeError(msg)
            self._by_type = tuple((kind, _action(name)) for kind, name in on_exception.items())
        else:
            self._by_type = ((BaseException, _action(on_exception)),)

    def action(self, error: BaseException) -> Action:
        """Return the action for `error`: that of the first matching type, or `RAISE`."""
        return next((action for kind, action in self._by_type if isinstance(error, kind)), Action.RAISE)


def _action(name: object) -> Action:
    names = {action.value: action for action in Action} | {"continue": Action.IGNORE}
    allowed = "'raise', 'end', 'ignore' ('continue' is the same), or a mapping from exception types to these"
    if not isinstance(name, str):
        msg = f"on_exception must be {allowed}; got {name!r} of type {type(name).__name__}."
        raise TypeError(msg)
    if name not in names:
        msg = f"on_exception must be {allowed}; got {name!r}.{did_you_mean(name, names)}"
        raise ValueError(msg)
    return names[name]
