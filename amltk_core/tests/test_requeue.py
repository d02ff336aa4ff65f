"""Requeue: an iterator to which items can be given back."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amltk import Requeue


def test_it_gives_what_it_was_given():
    assert list(Requeue("abc")) == ["a", "b", "c"]
    assert list(Requeue([])) == []
    assert list(Requeue()) == []


def test_it_is_an_iterator():
    items = Requeue([1, 2])
    assert iter(items) is items
    assert isinstance(items, Iterator)
    assert next(items) == 1
    assert next(items) == 2
    assert next(items, None) is None
    with pytest.raises(StopIteration):
        next(items)


def test_what_is_requeued_comes_next_the_last_one_first():
    items = Requeue([1, 2, 3])
    first, second = next(items), next(items)
    items.requeue(first)
    items.requeue(second)
    assert list(items) == [2, 1, 3]


def test_what_is_appended_comes_after_everything_else():
    items = Requeue([1, 2])
    items.append("x")
    items.append("y")
    items.requeue(0)
    assert list(items) == [0, 1, 2, "x", "y"]


@pytest.mark.parametrize("give_back", [Requeue.requeue, Requeue.append])
def test_it_goes_on_after_it_had_run_out(give_back):
    items = Requeue([1])
    assert list(items) == [1]
    give_back(items, 2)
    assert list(items) == [2]
    assert list(items) == []


def test_items_may_be_none_or_false():
    items = Requeue([None, False, 0])
    items.requeue(None)
    items.append(None)
    assert list(items) == [None, None, False, 0, None]


def test_it_draws_lazily_so_the_source_may_be_endless():
    drawn = []

    def source():
        for number in itertools.count():
            drawn.append(number)
            yield number

    items = Requeue(source())
    assert drawn == []
    assert [next(items), next(items)] == [0, 1]
    items.requeue(1)
    assert next(items) == 1
    assert drawn == [0, 1]


def test_an_error_of_the_source_is_no_end():
    def source():
        yield 1
        msg = "the source is broken"
        raise ValueError(msg)

    items = Requeue(source())
    assert next(items) == 1
    with pytest.raises(ValueError, match="the source is broken"):
        next(items)


def test_it_needs_something_to_iterate_over():
    with pytest.raises(TypeError, match="not iterable"):
        Requeue(3)


def test_a_loop_may_give_back_what_it_has_taken():
    items = Requeue(range(3))
    seen = []
    for item in items:
        seen.append(item)
        if len(seen) == 2:
            items.requeue(item)
    assert seen == [0, 1, 1, 2]


@given(st.lists(st.integers()), st.lists(st.sampled_from(["next", "requeue", "append"])))
def test_it_behaves_as_a_deque(start, steps):
    items, model = Requeue(start), deque(start)
    for number, step in enumerate(steps):
        if step == "next":
            assert next(items, None) == (model.popleft() if model else None)
        elif step == "requeue":
            items.requeue(number)
            model.appendleft(number)
        else:
            items.append(number)
            model.append(number)
    assert list(items) == list(model)
