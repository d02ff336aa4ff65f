"""What schedulers and tasks look like: printed, in a notebook, and live in a terminal of our own."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import types
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from rich.text import Text

from amltk import Event, Scheduler, TaskPlugin
from amltk.display import LiveView, formatting, live, render_scheduler, render_task, to_html
from amltk.display.panels import SEEN_CALLS
from amltk.display.run_panel import RunPanel


@pytest.fixture
def scheduler():
    with ThreadPoolExecutor(1) as executor:
        yield Scheduler(executor=executor)


def shown(thing: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_jupyter=False)
    console.print(thing)
    return readable(console.file.getvalue())


def readable(text: str) -> str:
    return text.replace("\N{MULTIPLICATION SIGN}", "x")


def double(x):
    return 2 * x


# Portraits


def test_a_scheduler_shows_its_executor_events_and_callbacks(scheduler):
    @scheduler.on_start(every=2, repeat=3, limit=4)
    def hello():
        scheduler.submit(double, 1)

    @scheduler.on_timeout(when=lambda: True)
    def late():
        pass

    before = shown(scheduler)
    assert re.search(r"executor +ThreadPoolExecutor", before)
    assert re.search(r"state +not running", before)
    assert re.search(r"queue +empty", before)
    assert re.search(r"── on_start x0", before)
    assert re.search(r"── hello x0  every=2, repeat=3, limit=4", before)
    assert re.search(r"── late x0  when=<lambda>", before)
    scheduler.run()
    after = shown(scheduler)
    assert re.search(r"── on_start x1\b", after)
    assert re.search(r"── hello x3\b", after)
    assert re.search(r"── on_future_result x3\b", after)
    for event in scheduler.events:
        assert event in after


def test_a_running_scheduler_shows_its_queue(scheduler):
    seen = []

    @scheduler.on_start
    def go():
        for i in range(8):
            scheduler.submit(double, i, **{} if i else {"y": [1, 2, 3, 4]})
        seen.append(shown(scheduler))

    scheduler.on_future_exception(lambda *_: None)
    scheduler.run(on_exception="ignore")
    assert re.search(r"state +running", seen[0])
    assert re.search(r"queue +8 calls, \d running", seen[0])
    assert "double(0, y=[1, 2, 3, …])" in seen[0]
    assert "double(4)" in seen[0]
    assert "double(5)" not in seen[0]
    assert "… 3 more" in seen[0]


class Crew(ThreadPoolExecutor):
    def worker_counts(self):
        return {"wanted": 2, "connected": 1}


def test_workers_are_shown_where_the_executor_tells():
    seen = []
    with Crew(1) as executor:
        scheduler = Scheduler(executor=executor)
        picture = RunPanel(scheduler)
        scheduler.on_start(
            lambda: seen.extend([shown(scheduler), shown(picture.render()), shown(picture.render(lines=9))])
        )
        scheduler.run()
        after = shown(scheduler)
    assert re.search(r"workers +2 wanted, 1 connected", seen[0])
    assert "workers: 2 wanted, 1 connected" in seen[1]
    assert "workers: 2 wanted, 1 connected" in seen[2]
    assert "workers" not in after


class Quota(TaskPlugin):
    SPENT = Event("quota-spent")

    def __init__(self, **settings: Any) -> None:
        vars(self).update(settings, _secret=1)


class Drawn(TaskPlugin):
    def __rich__(self):
        return Text("drawn by itself")


class Undrawable(TaskPlugin):
    def __rich__(self):
        raise ZeroDivisionError


def test_a_task_shows_its_plugins_and_their_events(scheduler):
    task = scheduler.task(double, plugins=[Quota(calls=3, name_of_it="x"), Drawn()])
    task.on("quota-spent", partial(print, "spent"))
    scheduler.on_start(lambda: task(1))
    scheduler.run()
    for text in (shown(task), shown(scheduler)):
        assert re.search(r"(── |│ )double +│", text)
        assert "Quota  calls=3, name_of_it='x'" in text
        assert "secret" not in text
        assert "drawn by itself" in text
        assert "── quota-spent x0" in text
        assert "── print x0" in text
        assert "── on_result x1" in text
    assert shown(render_task(task)) == shown(task)
    assert shown(render_scheduler(scheduler)) == shown(scheduler)


def test_a_plugin_that_fails_to_show_itself_does_not_spoil_the_rest(scheduler):
    text = shown(scheduler.task(double, plugins=[Undrawable(), Quota(calls=3)]))
    assert "Undrawable  can't be shown: ZeroDivisionError" in text
    assert "Quota  calls=3" in text


def test_what_users_write_is_no_markup(scheduler):
    def f(x, k=0):
        pass

    f.__qualname__ = "[red]f[/red]"
    scheduler.task(f, plugins=Quota(text="[bold]")).on_result(f)
    scheduler.on_start(lambda: seen.append((scheduler.submit(f, "[/]", k="[link=x]:smile:"), shown(scheduler))))
    seen = []
    scheduler.run()
    text = seen[0][1]
    assert "[red]f[/red]('[/]', k='[link=x]:smile:')" in text
    assert "── [red]f[/red] x0" in text
    assert "Quota  text='[bold]'" in text


def test_what_users_write_moves_no_cursor(scheduler):
    def f():
        pass

    f.__qualname__ = "f\x1b[2J\n"
    task = scheduler.task(f)
    assert "\x1b" not in shown(task)
    assert r"f\x1b[2J\n" in shown(task)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_portrait_is_as_narrow_as_the_terminal(scheduler, width):
    task = scheduler.task(double, plugins=[Quota(**{f"setting_{i}": "x" * 90 for i in range(9)}), Drawn()])
    task.on_result(double, when=lambda: True, every=100_000, limit=100_000, repeat=100_000)
    scheduler.on_start(lambda: [task("x" * 50, y="z" * 50), texts.append(shown(scheduler, width))])
    texts = []
    scheduler.run(on_exception="ignore")
    assert {len(line) for line in texts[0].splitlines()} == {width}


def test_a_portrait_of_a_huge_queue_looks_at_a_few_calls(scheduler):
    class Waiting(dict):
        looked_at = 0

        def values(self):
            for value in super().values():
                self.looked_at += 1
                yield value

    running = Future()
    running.set_running_or_notify_cancel()
    first = types.SimpleNamespace(source=running, task=None, function=double, args=(0,), kwargs={})
    other = types.SimpleNamespace(source=Future(), task=None, function=double, args=(1,), kwargs={})
    waiting = Waiting(enumerate([first] + [other] * 99_999))
    scheduler.current_run = types.SimpleNamespace(worker_counts={}, waiting=waiting, accepting=True)
    assert "100,000 calls, 1 running" in shown(scheduler)
    assert waiting.looked_at <= SEEN_CALLS
    waiting.update(enumerate([first] * SEEN_CALLS))
    assert f"100,000 calls, {SEEN_CALLS}+ running" in shown(scheduler)
    scheduler.current_run = None


def test_plain_print_says_little(scheduler, capsys):
    print(scheduler, scheduler.task(double))  # noqa: T201
    assert capsys.readouterr().out == "<Scheduler> <Task 'double'>\n"


def test_a_notebook_gets_a_piece_of_html_that_leaves_the_page_alone(scheduler):
    task = scheduler.task(double, plugins=Quota(text="<script>&"))
    for thing in (task, scheduler):
        html = thing._repr_html_()
        assert html == to_html(thing)
        assert re.fullmatch(r"<pre [^>]*>.*</pre>\s*", html, re.DOTALL)
        assert not re.search(r"<(?!/?(pre|span)\b)", html)
        assert "text='&lt;script&gt;&amp;'" in re.sub(r"<.*?>", "", html).replace("&#x27;", "'")
        assert 'style="color:' in html.replace("color: ", "color:")


# Words


class Dear:
    def __repr__(self):
        pytest.fail("the repr of a user's object may be dear: it is not for pictures")


class Hostile(dict):
    __class__ = property(lambda self: 1 / 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (True, "True"),
        (None, "None"),
        (2.5, "2.5"),
        ("x" * 24, repr("x" * 24)),
        ("x" * 25, repr("x" * 23) + "…"),
        (b"ab", "b'ab'"),
        ("a\n\x1b", r"'a\n\x1b'"),
        (10**30, "1000000000000000000000000"[:23] + "…"),
        (10**5000, "int"),
        ([1, 2, 3], "[1, 2, 3]"),
        ([1, 2, 3, 4], "[1, 2, 3, …]"),
        ((1,), "(1)"),
        ({"a": Dear()}, "{'a': Dear}"),
        ({1}, "{1}"),
        (frozenset({1}), "frozenset({1})"),
        ([[[[1]]]], "[[[…]]]"),
        (dict.fromkeys(range(1_000_000)), "{0: None, 1: None, 2: None, …}"),
        (Dear(), "Dear"),
        (Dear, "Dear"),
        (double, "double"),
        (partial(double, Dear()), "double"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_values_are_shown_in_a_few_characters(value, text):
    assert formatting.short(value) == text


def test_a_value_that_can_not_be_looked_at_is_shown_by_its_type():
    assert formatting.short([Hostile()]) == "[Hostile]"


# Live, where output is no terminal


def test_a_run_is_shown_once_where_nothing_can_be_overwritten(scheduler, capsys):
    task = scheduler.task(double, plugins=Quota())
    scheduler.on_start(lambda: [task(i) for i in range(3)])
    scheduler.on_start(lambda: task.emit(Quota.SPENT))
    scheduler.on_start(lambda: print("by the callback"))  # noqa: T201
    scheduler.run(display=True)
    first, *picture = readable(capsys.readouterr().out).splitlines()
    assert first == "by the callback"
    assert [line[0] for line in picture].count("╭") == 1
    text = "\n".join(picture)
    assert re.search(r"ThreadPoolExecutor +ended: exhausted  0:00:0\d", text)
    assert "0 in the queue, 0 running · 3 returned · 0 raised · 0 cancelled" in text
    assert re.search(r"double +0 +3 +0 +0 +quota-spent x1 ", text)
    assert "\x1b" not in text


def test_a_run_is_shown_also_if_nothing_happens_in_it(scheduler, capsys):
    scheduler.run(display=True)
    assert "ended: exhausted" in capsys.readouterr().out


def test_a_second_run_is_counted_anew(scheduler, capsys):
    scheduler.on_start(lambda: scheduler.submit(double, 1))
    scheduler.run()
    scheduler.run(display=True)
    assert "· 1 returned" in capsys.readouterr().out


def test_an_error_in_showing_does_not_end_the_run(scheduler, monkeypatch, caplog):
    pictures = []

    def render(self, **_):
        pictures.append(self)
        raise OSError(5, "the terminal is gone")

    monkeypatch.setattr(RunPanel, "render", render)
    scheduler.on_start(lambda: scheduler.submit(double, 1))
    results = []
    scheduler.on_future_result(lambda _, result: results.append(result))
    state = scheduler.run(display=True)
    assert (state.code.name, results, len(pictures)) == ("EXHAUSTED", [2], 1)
    assert [record.getMessage() for record in caplog.records] == ["The live display failed; the run continues."]


def test_showing_takes_a_tenth_of_the_time_at_most(scheduler, monkeypatch):
    now = [0.0]
    drawn = []

    class Slow:
        def show(self, picture):
            drawn.append(now[0])
            now[0] += 0.5

    monkeypatch.setattr(live, "_surface", Slow)
    monkeypatch.setattr(live, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    view = LiveView(scheduler)
    view.start()
    while now[0] < 50:
        now[0] += 0.1
        view.refresh()
    assert 9 <= len(drawn) <= 10


def test_a_notebook_shows_a_run_in_one_place(scheduler, monkeypatch):
    outputs = []

    class Handle:
        def update(self, html):
            outputs.append(("update", html))

    def display(html, *, display_id):
        assert display_id is True
        outputs.append(("display", html))
        return Handle()

    notebook = types.SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=notebook))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    monkeypatch.setattr(live, "get_console", lambda: Console(force_jupyter=True))
    scheduler.on_start(lambda: scheduler.submit(double, 1))
    scheduler.run(display=True)
    kinds = [kind for kind, _ in outputs]
    assert kinds == ["display"] + ["update"] * (len(kinds) - 1)
    assert "ended: exhausted" in re.sub(r"<.*?>", "", outputs[-1][1])


@pytest.mark.parametrize("display", [False, True])
def test_rich_is_loaded_for_those_who_look_only(display):
    code = f"""
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from amltk import Scheduler
        with ThreadPoolExecutor(1) as executor:
            scheduler = Scheduler(executor=executor)
            task = scheduler.task(abs)
            scheduler.on_start(lambda: task(1))
            scheduler.run(display={display})
        print(scheduler, task)
        assert ("rich" in sys.modules) is {display}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=30, stdout=subprocess.DEVNULL)


# Live, in a terminal


class Terminal(NamedTuple):
    """What a program left: every line there has been, and all that it wrote."""

    lines: list[str]
    raw: str
    status: int


def in_terminal(
    code: str, *, columns: int = 80, rows: int = 24, interrupt_at: str | None = None, **env: str
) -> Terminal:
    """Run a program in a terminal; it gets a SIGINT when it has written what matches `interrupt_at`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=kept | {"TERM": "xterm"} | env,
    ) as process:  # fmt: skip
        os.close(theirs)
        raw = b""
        try:
            while chunk := _read(ours):
                raw += chunk
                if interrupt_at is not None and re.search(interrupt_at, plain(raw.decode(errors="replace"))):
                    process.send_signal(signal.SIGINT)
                    interrupt_at = None
        finally:
            os.close(ours)  # a program that still runs loses its terminal, and ends
            if sys.exc_info()[0] is not None:
                process.kill()
    text = raw.decode()
    return Terminal(screen(text, rows), text, process.returncode)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # as Linux says that nobody writes any more
        return b""


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def screen(raw: str, rows: int) -> list[str]:
    """Play what was written to a terminal; any sequence that a live picture has no business with is an error."""
    lines, y, x = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+|\x1b", raw):
        if part == "\r":
            x = 0
        elif part == "\n":
            y += 1
            lines += [""] * (y - len(lines) + 1)
        elif part[0] != "\x1b":
            lines[y] = lines[y].ljust(x)[:x] + part + lines[y][x + len(part) :]
            x += len(part)
        elif part == "\x1b[2K":
            lines[y] = ""
        elif part.endswith("A"):
            y = max(y - int(part[2:-1]), len(lines) - rows, 0)  # what has left the screen is out of reach
        else:
            assert part.endswith("m") or part in {"\x1b[?25l", "\x1b[?25h"}, repr(part)
    return "\n".join(line.rstrip() for line in lines).rstrip().split("\n")


PREAMBLE = """
import time
from concurrent.futures import ThreadPoolExecutor
from amltk import Scheduler
executor = ThreadPoolExecutor(1)
scheduler = Scheduler(executor=executor)
def wait(seconds):
    time.sleep(seconds)
    return seconds
"""


def test_a_run_is_shown_live_in_one_place():
    code = PREAMBLE + textwrap.dedent("""
        task = scheduler.task(wait)
        scheduler.on_start(lambda: [task(0.15) for _ in range(6)])
        @task.on_result
        def tell(_, seconds):
            print("printed:", task.event_counts["on_result"])
        scheduler.run(display=True)
        print("after")
    """)
    terminal = in_terminal(code)
    assert terminal.status == 0
    assert terminal.raw.count("╭") > 4, "it was shown several times"
    assert terminal.lines[:6] == [f"printed: {i}" for i in range(1, 7)]
    assert terminal.lines[6].startswith("╭")
    assert re.search(r"ended: exhausted  0:00:0\d", terminal.lines[7])
    assert re.search(r"wait +0 +6 +0 +0", "\n".join(terminal.lines))
    assert [line[:1] for line in terminal.lines].count("╭") == 1
    assert terminal.lines[-2].startswith("╰")
    assert terminal.lines[-1] == "after"
    assert cursor_is_visible(terminal)


def test_what_has_not_changed_is_not_drawn_again():
    code = PREAMBLE + textwrap.dedent("""
        scheduler.on_start(lambda: scheduler.submit(wait, 0.95))
        scheduler.run(display=True)
    """)
    terminal = in_terminal(code)
    assert 3 <= terminal.raw.count("╭") <= 5


def cursor_is_visible(terminal: Terminal) -> bool:
    return re.findall(r"\x1b\[\?25[lh]", terminal.raw)[-1:] == ["\x1b[?25h"]


def test_a_picture_that_is_taller_than_the_terminal_is_cropped_until_the_end():
    code = PREAMBLE + textwrap.dedent("""
        tasks = [scheduler.task(wait) for _ in range(30)]
        scheduler.on_start(lambda: [task(0.02) for task in tasks])
        scheduler.run(display=True)
    """)
    terminal = in_terminal(code, columns=60, rows=12)
    shown_live = terminal.raw.split("ended")[0]
    assert "… 26 more" in plain(shown_live)
    assert all(len(line) <= 60 for line in terminal.lines)
    assert [line[:1] for line in terminal.lines] == ["╭", *["│"] * (len(terminal.lines) - 2), "╰"]
    assert sum(line.startswith("│ wait") for line in terminal.lines) == 30


def test_the_terminal_is_given_back_after_ctrl_c():
    code = PREAMBLE + textwrap.dedent("""
        scheduler.on_start(lambda: [scheduler.submit(wait, 0.1) for _ in range(1000)])
        try:
            scheduler.run(display=True)
        except KeyboardInterrupt:
            print("interrupted")
    """)
    terminal = in_terminal(code, interrupt_at="[1-9] returned")
    assert terminal.status == 0
    assert "ended: cancelled" in "\n".join(terminal.lines)
    assert terminal.lines[-2].startswith("╰")
    assert terminal.lines[-1] == "interrupted"
    assert cursor_is_visible(terminal)


@pytest.mark.parametrize("where", ["a callback", "the picture"])
def test_the_terminal_is_given_back_after_an_error(where):
    code = PREAMBLE + textwrap.dedent(f"""
        import logging
        from amltk.display import run_panel
        logging.basicConfig(format="logged: %(message)s")
        def fail(*_, **__):
            raise ValueError("for the test")
        if {where == "a callback"}:
            scheduler.on_future_result(fail)
        else:
            scheduler.on_future_result(lambda *_: setattr(run_panel.RunPanel, "render", fail))
        scheduler.on_start(lambda: scheduler.submit(wait, 0.1))
        try:
            scheduler.run(display=True)
        except ValueError as error:
            print("raised:", error)
        print("after")
    """)
    terminal = in_terminal(code)
    text = "\n".join(terminal.lines)
    assert terminal.status == 0
    assert "raised: for the test" in text if where == "a callback" else "logged: The live display failed" in text
    assert terminal.lines[-1] == "after"
    assert cursor_is_visible(terminal)


def test_a_forked_worker_draws_nothing():
    code = PREAMBLE + textwrap.dedent("""
        import os, sys
        def fork():
            before = type(sys.stdout).__name__
            pid = os.fork()
            if pid == 0:
                os._exit(0 if (before, type(sys.stdout).__name__) == ("FileProxy", "TextIOWrapper") else 1)
            print("child:", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        scheduler.on_start(fork)
        scheduler.run(display=True)
    """)
    assert "child: 0" in in_terminal(code).lines


def test_a_terminal_that_can_move_no_cursor_gets_the_end_only():
    code = PREAMBLE + textwrap.dedent("""
        scheduler.on_start(lambda: [scheduler.submit(wait, 0.05) for _ in range(4)])
        scheduler.run(display=True)
    """)
    terminal = in_terminal(code, TERM="dumb")
    assert "\x1b" not in terminal.raw
    assert terminal.raw.count("╭") == 1
    assert "ended: exhausted" in terminal.raw


def test_events_of_plugins_with_long_names_leave_the_counts_their_room():
    code = PREAMBLE + textwrap.dedent("""
        from amltk import Event, TaskPlugin
        class Telling(TaskPlugin):
            ONE, TWO = Event("one-event-with-a-rather-long-name"), Event("another-event-with-a-rather-long-name")
        task = scheduler.task(wait, plugins=Telling())
        scheduler.on_start(lambda: (task.emit(Telling.ONE), task.emit(Telling.TWO), task(0))[0])
        scheduler.run(display=True)
    """)
    row = next(line for line in in_terminal(code).lines if line.startswith("│ wait"))
    assert row.split()[1:6] == ["wait", "0", "1", "0", "0"]
    assert "one-event" in row


def test_a_long_name_of_a_task_leaves_the_counts_their_room():
    code = PREAMBLE + textwrap.dedent("""
        def a_function_with_a_name_that_is_longer_than_the_terminal_is_wide(): ...
        task = scheduler.task(a_function_with_a_name_that_is_longer_than_the_terminal_is_wide)
        scheduler.on_start(lambda: task())
        scheduler.run(display=True)
    """)
    lines = in_terminal(code, columns=50).lines
    row = next(line for line in lines if line.startswith("│ a_fun"))
    assert row.split()[2:6] == ["0", "1", "0", "0"]
    assert any(line.split()[1:-1] == ["task", "queue", "returned", "raised", "cancelled"] for line in lines)


def test_a_plugin_with_a_repr_of_its_own_is_shown_by_it_and_its_callbacks_are_dim():
    class Own(TaskPlugin):
        def __init__(self, text):
            self.text = text

        def attach_task(self, task):
            task.on_result(self.look)

        def look(self, *_): ...

        def __repr__(self):
            if not self.text:
                raise ValueError(self.text)
            return self.text

    scheduler = Scheduler(executor=ThreadPoolExecutor(1))
    for text, shown in (("Own([red] limits: 3)", "Own([red] limits: 3)"), ("", "its repr raised ValueError")):
        console = Console(file=io.StringIO(), width=100)
        console.print(scheduler.task(len, plugins=Own(text)))
        assert shown in console.file.getvalue()
        assert "look" in console.file.getvalue()
