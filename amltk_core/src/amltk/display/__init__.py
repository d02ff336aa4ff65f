"""What schedulers, tasks and tables look like: the only place that imports rich.

- `words`: names, calls and values in a few characters, whatever they are.
- `portrait`: all there is to see of a scheduler or task, for `rich.print(scheduler)` and notebooks.
- `picture`, `live`: a run in a few lines, while it goes on, for `scheduler.run(display=True)`.
- `table`: tables of the command line.
"""

from __future__ import annotations

from amltk.display.live import LiveView
from amltk.display.portrait import render_scheduler, render_task, to_html
from amltk.display.table import print_table

__all__ = ["LiveView", "print_table", "render_scheduler", "render_task", "to_html"]
