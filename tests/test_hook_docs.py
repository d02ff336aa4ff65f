"""Holds the pages on hooks and events against the code: each has its heading or row, exactly as it is, and no other."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from amltk import Emitter, Scheduler, Task, hookspecs

DOCS = Path(__file__).resolve().parent.parent / "docs"
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("amltk_")}


def sections(page: Path, level: str) -> dict[str, str]:
    """Return the text below each heading of that level."""
    pieces = re.split(rf"^{level} (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


HOOK_SECTIONS = sections(DOCS / "hooks.md", "###")


def test_each_hook_has_its_heading_and_each_heading_its_hook() -> None:
    expected = [f"`{name}({', '.join(inspect.signature(hook).parameters)})`" for name, hook in HOOKS.items()]
    assert list(HOOK_SECTIONS) == expected


@pytest.mark.parametrize("heading", HOOK_SECTIONS)
def test_signature_of_a_hook_is_the_one_in_the_code(heading: str) -> None:
    name = heading.strip("`").partition("(")[0]
    shown = re.findall(r"^```python\n(def .+?)^```$", HOOK_SECTIONS[heading], re.MULTILINE | re.DOTALL)
    assert len(shown) == 1
    signature = inspect.signature(HOOKS[name])
    assert ast.unparse(ast.parse(shown[0])) == ast.unparse(ast.parse(f"def {name}{signature}: ...".replace("'", "")))


@pytest.mark.parametrize("heading", HOOK_SECTIONS)
def test_each_hook_has_an_example(heading: str) -> None:
    name = heading.strip("`").partition("(")[0]
    implementation = rf"@hookimpl\n(    )*def {name}\("
    assert re.search(implementation, HOOK_SECTIONS[heading])


@pytest.mark.parametrize(("heading", "emitter"), [("Events of the scheduler", Scheduler), ("Events of a task", Task)])
def test_events_page_lists_what_there_is_and_what_callbacks_receive(heading: str, emitter: type[Emitter]) -> None:
    section = sections(DOCS / "events.md", "##")[heading]
    rows = re.findall(r"^\| `(on_\w+)` \| (?:`(\(.*?\))`|(nothing)) \|", section, re.MULTILINE)
    listed = {name: arguments or nothing for name, arguments, nothing in rows}

    scheduler = Scheduler.with_backend("sequential")
    one = scheduler if emitter is Scheduler else scheduler.task(print)
    receive = {
        event.name: re.search(r"callbacks receive (\(.*?\)|nothing)", event.description)[1] for event in one.events
    }
    assert list(listed.items()) == list(receive.items())


def test_events_page_names_the_objects_of_the_events() -> None:
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    for emitter in (Scheduler, Task):
        objects = [name for name in vars(emitter) if name.isupper()]
        assert f"`{'`, `'.join(objects[:-1])}` and `{objects[-1]}`" in " ".join(page.split())
