"""`Requeue`: an iterator for callbacks, to which items can be returned."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Requeue(Iterator[T]):
    """An iterator to which items can be returned.

    It reads the iterable lazily, so the iterable may be endless. After its end, it continues when an
    item is requeued or appended.

    Example:
        >>> items = Requeue(["a", "b"])
        >>> items.requeue(next(items))
        >>> items.append("c")
        >>> list(items)
        ['a', 'b', 'c']
    """

    def __init__(self, items: Iterable[T] = ()) -> None:
        """Start with `items`."""
        self._first: deque[T] = deque()
        self._items = iter(items)
        self._last: deque[T] = deque()

    def __iter__(self) -> Requeue[T]:
        return self

    def __next__(self) -> T:
        if self._first:
            return self._first.popleft()
        for item in self._items:
            return item
        if self._last:
            return self._last.popleft()
        raise StopIteration

    def requeue(self, item: T) -> None:
        """Put `item` at the front: it comes next."""
        self._first.appendleft(item)

    def append(self, item: T) -> None:
        """Put `item` at the end: it comes after all others, except later ones."""
        self._last.append(item)
