"""Renders schedulers, tasks, runs and tables. No other package imports rich.

- `formatting`: short texts for names, calls and values.
- `panels`: a complete view of a scheduler or task, for `rich.print(scheduler)` and notebooks.
- `run_panel`, `live`: a few lines about a running scheduler, for `scheduler.run(display=True)`.
- `table`: tables of the command line.
"""

from __future__ import annotations

from amltk.display.live import LiveView
from amltk.display.panels import render_scheduler, render_task, to_html
from amltk.display.table import print_table

__all__ = ["LiveView", "print_table", "render_scheduler", "render_task", "to_html"]
