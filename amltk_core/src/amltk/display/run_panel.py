"""A few lines about a run: its executor, duration, outcomes of calls, and the next calls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from amltk.display.formatting import number, short_name, times
from amltk.display.panels import GUIDES, WIDTH, Queue, look_at_queue, look_at_workers, render_calls
from amltk.events import events_of
from amltk.scheduling.task import Task

if TYPE_CHECKING:
    from amltk.events import Emitter
    from amltk.scheduling.scheduler import Scheduler

BESIDES_TASKS = 8
"""Lines of the picture besides tasks and calls: frame, head, totals, a blank, the tasks' header and remainder."""

_OWN_EVENTS = frozenset(events_of(Task))


class RunPanel:
    """Makes pictures of a scheduler's run; counts events from now on."""

    def __init__(self, scheduler: Scheduler) -> None:
        """Start counting."""
        self._scheduler = scheduler
        self._begin = time.monotonic()
        self._before: Mapping[Emitter, Counter[Any]] = {
            emitter: emitter.event_counts for emitter in (scheduler, *scheduler.tasks)
        }

    def render(self, *, lines: int | None = None, final: bool = False) -> Panel:
        """Return a panel with the current state, with fewer tasks if it would exceed `lines`."""
        scheduler = self._scheduler
        queue = look_at_queue(scheduler)
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        head.add_column(no_wrap=True, justify="right")
        head.add_row(Text(scheduler.executor_label, "bold"), self._state(final=final))
        totals = self._totals(queue)
        totals.no_wrap = lines is not None
        parts: list[RenderableType] = [head, totals]
        if not final and (workers := look_at_workers(scheduler)):
            parts.append(Text("workers: ", "dim", no_wrap=True, overflow="ellipsis").append_text(workers))
        if scheduler.tasks:
            room = len(scheduler.tasks) if lines is None else max(1, lines - BESIDES_TASKS + 2 - len(parts))
            parts += [Text(), self._tasks(room)]
        if queue.length and not final:
            parts += [Text(), render_calls(queue)]
        return Panel(Group(*parts), width=WIDTH, border_style=GUIDES)

    def _state(self, *, final: bool) -> Text:
        run = self._scheduler.current_run
        if run is None or final:
            state = Text("ended" if run is None else f"ended: {run.exit_state.code.name.lower()}", "bold")
        elif run.accepting:
            state = Text("running", "bold green")
        else:
            state = Text("ending", "bold yellow")
        return state.append(f"  {timedelta(seconds=int(time.monotonic() - self._begin))}", "not bold default")

    def _totals(self, queue: Queue) -> Text:
        counts, scheduler = self._counts(self._scheduler), self._scheduler
        totals = Text(overflow="ellipsis")
        for count, what, style in (
            (queue.length, f"in the queue, {queue.running_text}", "default"),
            (counts[scheduler.FUTURE_RESULT], "returned", "green"),
            (counts[scheduler.FUTURE_EXCEPTION], "raised", "red"),
            (counts[scheduler.FUTURE_CANCELLED], "cancelled", "yellow"),
        ):
            totals.append(" · " if totals else "", "dim")
            totals.append(number(count), f"bold {style}" if count else "dim").append(f" {what}", "dim")
        return totals

    def _tasks(self, rows: int) -> RenderableType:
        tasks = self._scheduler.tasks
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        # The cells are no_wrap, the column is not: rich narrows such columns first, so the counts keep their width.
        table.add_column("task", style="cyan")
        for name in ("queue", "returned", "raised", "cancelled"):
            table.add_column(name, justify="right", no_wrap=True)
        if any(set(task.events) - _OWN_EVENTS for task in tasks):
            table.add_column("other events")
        for task in tasks[:rows]:
            counts = self._counts(task)
            cells = [
                Text(short_name(task.name), no_wrap=True, overflow="ellipsis"),
                _count(task.n_running, "default"),
                _count(counts[task.RESULT], "green"),
                _count(counts[task.EXCEPTION], "red"),
                _count(counts[task.CANCELLED], "yellow"),
            ]
            others = [f"{short_name(name)} {times(n)}" for name, n in counts.items() if n and name not in _OWN_EVENTS]
            if others:
                cells.append(Text(", ".join(others), "yellow", no_wrap=True, overflow="ellipsis"))
            table.add_row(*cells)
        if len(tasks) <= rows:
            return table
        return Group(table, Text(f"… {number(len(tasks) - rows)} more", "dim"))

    def _counts(self, emitter: Emitter) -> Counter[Any]:
        counts: Counter[Any] = emitter.event_counts
        counts.subtract(self._before.get(emitter, {}))
        return counts


def _count(count: int, style: str) -> Text:
    return Text(number(count), style if count else "dim")
