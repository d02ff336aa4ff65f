"""The live view of a run, in the terminal or a notebook."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from rich import get_console
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.segment import Segment, SegmentLines

from amltk.display.panels import to_html
from amltk.display.run_panel import RunPanel

if TYPE_CHECKING:
    from amltk.scheduling.scheduler import Scheduler

logger = logging.getLogger("amltk")

SHARE = 0.1
"""Largest share of the run's time that the view may take: it is drawn in the thread of the callbacks."""

ECHO = len("^C^C")
"""Free columns beside a picture, for the echo of keys: on its own line it would push the picture up."""


class Surface(Protocol):
    """An output for pictures of a run."""

    def show(self, picture: RunPanel) -> None:
        """Show a picture in place of the one before."""

    def end(self, picture: RunPanel) -> None:
        """Show the last picture, which stays."""

    def give_up(self) -> None:
        """Stop showing, after an error."""


class LiveView:
    """Shows a scheduler's run in the terminal or a notebook; in other outputs once, at the end.

    An error here ends the view, not the run. There is no thread: the view changes when `refresh` is called.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        """Prepare a view of the next run of `scheduler`."""
        self._scheduler = scheduler
        self._picture: RunPanel | None = None
        self._surface: Surface | None = None
        self._not_before = 0.0

    def start(self) -> None:
        """Show the first picture."""
        self._guarded(self._start)

    def refresh(self) -> None:
        """Show a new picture, unless that would exceed `SHARE`."""
        if time.monotonic() >= self._not_before:
            self._guarded(self._show)

    def stop(self) -> None:
        """Show the last picture, and release the terminal."""
        self._guarded(self._stop)

    def _start(self) -> None:
        self._picture = RunPanel(self._scheduler)
        self._surface = _surface()
        self._show()

    def _show(self) -> None:
        if self._surface is not None and self._picture is not None:
            begin = time.monotonic()
            self._surface.show(self._picture)
            end = time.monotonic()
            self._not_before = end + (end - begin) * (1 / SHARE - 1)

    def _stop(self) -> None:
        if self._surface is not None and self._picture is not None:
            self._surface.end(self._picture)
            self._surface = None

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception:
            surface, self._surface = self._surface, None
            if surface is not None:
                with suppress(Exception):
                    surface.give_up()
            logger.warning("The live display failed; the run continues.", exc_info=True)


def _surface() -> Surface:
    console = get_console()  # the one of `rich.print`: output of callbacks appears above the picture
    if console.is_jupyter:
        return _Notebook()
    if console.is_interactive and console.file.isatty():
        return _Terminal(console)
    return _Paper(console)


class _Terminal:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: list[list[Segment]] = []
        self._tallest = 0
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()
        _showing.add(self)

    def show(self, picture: RunPanel) -> None:
        room = self._console.size.height
        panel = picture.render(lines=room)
        lines = self._lines_of(panel)
        self._tallest = min(room, max(self._tallest, len(lines)))
        if len(lines) != self._tallest:  # of constant height, so that the lines around it do not move
            panel.height = self._tallest
            lines = self._lines_of(panel)
        if lines != self._lines:
            self._draw(lines)
            self._live.refresh()

    def end(self, picture: RunPanel) -> None:
        self._draw(self._lines_of(picture.render(final=True)))
        self.give_up()

    def give_up(self) -> None:
        _showing.discard(self)
        self._live.stop()

    def _lines_of(self, panel: Panel) -> list[list[Segment]]:
        options = self._console.options
        return self._console.render_lines(panel, options.update(width=max(1, options.max_width - ECHO)))

    def _draw(self, lines: list[list[Segment]]) -> None:
        # Rich redraws this below all printed text, in the thread that prints. Finished segments are cheap, and do
        # not read the state of the run in that thread.
        self._lines = lines
        self._live.update(SegmentLines(lines, new_lines=True))


class _Notebook:
    def __init__(self) -> None:
        self._ipython = importlib.import_module("IPython.display")  # every notebook has it
        self._handle: Any = None

    def show(self, picture: RunPanel) -> None:
        self._draw(to_html(picture.render()))

    def end(self, picture: RunPanel) -> None:
        self._draw(to_html(picture.render(final=True)))

    def give_up(self) -> None:
        pass

    def _draw(self, html: str) -> None:
        if self._handle is None:
            self._handle = self._ipython.display(self._ipython.HTML(html), display_id=True)
        else:
            self._handle.update(self._ipython.HTML(html))


class _Paper:
    """A file or pipe, in which nothing can be overwritten."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, picture: RunPanel) -> None:
        pass

    def end(self, picture: RunPanel) -> None:
        self._console.print(picture.render(final=True))

    def give_up(self) -> None:
        pass


_showing: set[_Terminal] = set()


def _let_go_of_the_terminal() -> None:
    """Let a forked worker print without redrawing the picture of its parent's run."""
    if _showing:
        for name in ("stdout", "stderr"):
            proxied = getattr(getattr(sys, name), "rich_proxied_file", None)
            if proxied is not None:
                setattr(sys, name, proxied)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_go_of_the_terminal)
