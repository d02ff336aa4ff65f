"""The complete view of a scheduler or a task.

Rich gets `Text` instead of strings, in which it would interpret markup.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.protocol import rich_cast
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from amltk.display.formatting import call, clip, name_of, number, settings, short_name, times

if TYPE_CHECKING:
    from amltk.events import Emitter, Handler
    from amltk.scheduling.call_future import CallFuture
    from amltk.scheduling.call_plugin import CallPlugin, Refusal
    from amltk.scheduling.scheduler import Scheduler
    from amltk.scheduling.task import Task

WIDTH = 100
"""Largest width, even in a wider terminal: longer lines are hard to read."""
SHOWN_CALLS = 5
SEEN_CALLS = 256
"""How many calls of the queue are inspected, so that a long queue costs no more."""

MAX_REPR = 200
"""Shown characters of a plugin's repr."""

GUIDES = "bright_black"


def render_scheduler(scheduler: Scheduler) -> RenderableType:
    """Return a panel with a scheduler's executor, queue, events, callbacks and tasks."""
    running = scheduler.running()
    queue = look_at_queue(scheduler)
    calls = Text(f"{number(queue.length)} call{'s' * (queue.length != 1)}, {queue.running_text}")
    workers = look_at_workers(scheduler)
    facts = _facts(
        ("executor", Text(scheduler.executor_label)),
        ("state", Text("running", "bold green") if running else Text("not running", "dim")),
        *([("workers", workers)] if workers else []),
        ("queue", Group(calls, render_calls(queue)) if queue.length else Text("empty", "dim")),
    )
    parts: list[RenderableType] = [facts, Text(), _events(scheduler)]
    if scheduler.plugins:
        tree = Tree(Text("Plugins", "bold"), guide_style=GUIDES)
        _grow_plugins(tree, scheduler.plugins, scheduler.refused_by, scheduler.refusal)
        parts += [Text(), tree]
    if scheduler.tasks:
        tree = Tree(Text("Tasks", "bold"), guide_style=GUIDES)
        for task in scheduler.tasks:
            _grow_task(tree.add(_heading(task)), task)
        parts += [Text(), tree]
    return _panel("Scheduler", parts)


def render_task(task: Task[..., Any]) -> RenderableType:
    """Return a panel with a task's function, plugins, events and callbacks."""
    tree = Tree(_heading(task), guide_style=GUIDES)
    _grow_task(tree, task)
    return _panel("Task", [tree])


def to_html(thing: RenderableType) -> str:
    """Return a renderable as a piece of HTML with inline styles."""
    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_jupyter=False)
    console.print(thing)
    style = "white-space:pre;overflow-x:auto;line-height:normal;font-family:Menlo,'DejaVu Sans Mono',consolas,monospace"
    return console.export_html(inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>')


class Queue(NamedTuple):
    """A snapshot of a scheduler's queue.

    Attributes:
        length: Number of calls that have not ended.
        running: Number of running calls among the inspected ones.
        more: Whether further calls may be running.
        first: The first calls, each with whether it is running.
    """

    length: int
    running: int
    more: bool
    first: tuple[tuple[CallFuture[Any], bool], ...]

    @property
    def running_text(self) -> str:
        """The number of running calls, as text."""
        return f"{number(self.running)}{'+' * self.more} running"


def look_at_queue(scheduler: Scheduler) -> Queue:
    """Inspect the first calls only: executors take calls in order, so the running ones come first."""
    run = scheduler.current_run
    if run is None:
        return Queue(0, 0, more=False, first=())
    futures = list(islice(run.waiting.values(), SEEN_CALLS))
    states = [future.source.running() for future in futures]
    length = len(run.waiting)
    more = length > len(futures) and states[-1:] == [True]
    return Queue(length, sum(states), more, tuple(zip(futures[:SHOWN_CALLS], states, strict=False)))


def look_at_workers(scheduler: Scheduler) -> Text:
    """Return the executor's counts of workers, if it has any: "2 wanted, 1 queued, 1 connected, 0 lost"."""
    run = scheduler.current_run
    counts = {} if run is None else run.worker_counts
    return Text(", ".join(f"{number(count)} {what}" for what, count in counts.items()))


def render_calls(queue: Queue) -> RenderableType:
    """Return the first calls of a queue, one on each line, and the number of the others."""
    lines = []
    for future, runs in queue.first:
        line = Text("▸ " if runs else "· ", "green" if runs else "dim", no_wrap=True, overflow="ellipsis")
        lines.append(line.append(call(future), "default" if runs else "dim"))
    if queue.length > len(queue.first):
        lines.append(Text(f"… {number(queue.length - len(queue.first))} more", "dim"))
    return Group(*lines)


def _panel(title: str, parts: Iterable[RenderableType]) -> Panel:
    return Panel(Group(*parts), title=Text(title, "bold"), title_align="left", width=WIDTH, border_style=GUIDES)


def _facts(*facts: tuple[str, RenderableType]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), value)
    return table


def _heading(task: Task[..., Any]) -> Text:
    heading = Text(short_name(task.name), "bold cyan")
    if task.n_running:
        heading.append(f"  {number(task.n_running)} in the queue", "not bold default")
    return heading


def _grow_task(tree: Tree, task: Task[..., Any]) -> None:
    _grow_plugins(tree, task.plugins, task.refused_by, task.refusal)
    _grow_events(tree, task)


def _grow_plugins(
    tree: Tree, plugins: Iterable[CallPlugin], refused_by: CallPlugin | None, refusal: Refusal | None
) -> None:
    for plugin in plugins:
        tree.add(_PluginView(plugin))
    if refused_by is not None:
        why = "" if refusal is None else f": {clip(refusal.reason, MAX_REPR)}"
        tree.add(Text(f"last refusal, by {short_name(type(refused_by).__qualname__)}{why}", "dim"))


def _events(emitter: Emitter) -> Tree:
    tree = Tree(Text("Events", "bold"), guide_style=GUIDES)
    _grow_events(tree, emitter)
    return tree


def _grow_events(tree: Tree, emitter: Emitter) -> None:
    counts = emitter.event_counts
    quiet = []
    for event, handlers in emitter.handlers.items():
        if not handlers and not counts[event]:
            quiet.append(str(event))
            continue
        branch = tree.add(Text(short_name(event)).append_text(_times(counts[event])))
        for handler in handlers:
            branch.add(_handler(handler))
    if quiet:
        tree.add(Text(f"not emitted, no callbacks: {', '.join(map(short_name, quiet))}", "dim"))


def _handler(handler: Handler) -> Text:
    text = Text(name_of(handler.callback), "dim" if handler.of_plugin else "cyan").append_text(_times(handler.calls))
    options = {"every": handler.every, "repeat": handler.repeat}
    shown: dict[str, Any] = {name: value for name, value in options.items() if value != 1}
    shown.update({n: v for n, v in (("limit", handler.limit), ("when", handler.when)) if v is not None})
    return text.append(f"  {settings(shown)}", "dim") if shown else text


def _times(count: int) -> Text:
    return Text(f" {times(count)}", "bold yellow" if count else "dim")


def _repr(plugin: CallPlugin) -> str:
    try:
        return repr(plugin)
    except Exception as error:
        return f"{type(plugin).__qualname__} (its repr raised {type(error).__name__})"


class _PluginView:
    """A plugin, rendered by its own rich or repr methods, or else as name and settings."""

    def __init__(self, plugin: CallPlugin) -> None:
        self.plugin = plugin

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plugin = self.plugin
        name = Text(short_name(type(plugin).__qualname__), "magenta")
        if not hasattr(plugin, "__rich__") and not hasattr(plugin, "__rich_console__"):
            if type(plugin).__repr__ is not object.__repr__:  # written for this purpose
                yield Text(clip(_repr(plugin), MAX_REPR), "magenta")
                return
            own = {
                k: v
                for k, v in getattr(plugin, "__dict__", {}).items()
                if not k.startswith("_") and k not in {"task", "scheduler"}
            }
            yield name.append(f"  {settings(own)}", "default") if own else name
            return
        try:
            shown = rich_cast(plugin)
            if isinstance(shown, str):
                shown = console.render_str(shown)
            # Rendered now, so that an error does not fail the whole view.
            lines = console.render_lines(shown, options, pad=False)
        except Exception as error:
            yield name.append(f"  can't be shown: {type(error).__name__}", "red")
            return
        for line in lines:
            yield from line
            yield Text()
