"""Holds the pages on hooks and events against the code: each has its heading or row, exactly as it is, and no other."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from amltk import Emitter, Scheduler, Task, hookspecs
from amltk.plugins import plugin_manager

DOCS = Path(__file__).resolve().parent.parent / "docs"
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("amltk_")}


def sections(page: Path, level: str) -> dict[str, str]:
    """Return the text below each heading of that level."""
    pieces = re.split(rf"^{level} (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def signature_in(section: str) -> str:
    """Return the signature that stands alone in a Python block, without its layout."""
    shown = re.findall(r"^```python\n(def .+?: \.\.\.)\n```$", section, re.MULTILINE | re.DOTALL)
    assert len(shown) == 1
    return ast.unparse(ast.parse(shown[0]))


def signature_of(name: str, signature: inspect.Signature) -> str:
    """Return a signature as it stands in the code, though `inspect` quotes annotations that are not evaluated."""
    function = ast.parse(f"def {name}{signature}: ...").body[0]
    for node in ast.walk(function):
        for field in ("annotation", "returns"):
            if isinstance(quoted := getattr(node, field, None), ast.Constant) and isinstance(quoted.value, str):
                setattr(node, field, ast.parse(quoted.value, mode="eval").body)
    return ast.unparse(function)


HOOK_SECTIONS = sections(DOCS / "hooks.md", "###")


def test_each_hook_has_its_heading_and_each_heading_its_hook() -> None:
    expected = [f"`{name}({', '.join(inspect.signature(hook).parameters)})`" for name, hook in HOOKS.items()]
    assert list(HOOK_SECTIONS) == expected


@pytest.mark.parametrize("heading", HOOK_SECTIONS)
def test_signature_of_a_hook_is_the_one_in_the_code(heading: str) -> None:
    name = heading.strip("`").partition("(")[0]
    assert signature_in(HOOK_SECTIONS[heading]) == signature_of(name, inspect.signature(HOOKS[name]))


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
        objects = [name for base in reversed(emitter.__mro__) for name in vars(base) if name.isupper()]
        assert f"`{'`, `'.join(objects[:-1])}` and `{objects[-1]}`" in " ".join(page.split())


BACKEND_SECTIONS = sections(DOCS / "backends.md", "###")


@pytest.mark.parametrize("name", BACKEND_SECTIONS)
def test_backends_page_tells_options_and_capabilities(name: str) -> None:
    constructor = getattr(Scheduler, f"with_{name}")
    options = inspect.signature(constructor).replace(return_annotation="Scheduler")
    assert signature_in(BACKEND_SECTIONS[name]) == signature_of(f"with_{name}", options)

    table = sections(DOCS / "backends.md", "##")["The backends of this repository"].strip().partition("\n\n")[0]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    column = header.index(f"[{name}](#{name})")
    told = {row[0].strip("`"): row[column] for row in rows}
    claimed = dataclasses.asdict(plugin_manager().backend(name).capabilities)
    assert told == {claim: claim_in_words(value) for claim, value in claimed.items()}


def claim_in_words(value: bool | tuple[str, ...]) -> str:
    if value is True:
        return "yes"
    return ", ".join(f"`{each}`" for each in value) if value else "no"


BATCH_SECTIONS = sections(DOCS / "batch-systems.md", "###")


@pytest.mark.parametrize("name", BATCH_SECTIONS)
def test_page_of_batch_systems_tells_options_and_capabilities(name: str) -> None:
    options = inspect.signature(getattr(Scheduler, f"with_{name}")).replace(return_annotation="Scheduler")
    assert signature_in(BATCH_SECTIONS[name]) == signature_of(f"with_{name}", options)

    claims = sections(DOCS / "batch-systems.md", "##")["The systems"].strip().partition("###")[0]
    capabilities = dataclasses.asdict(plugin_manager().backend(name).capabilities)
    assert set(re.findall(r"`(\w+)`", claims)) == {claim for claim, holds in capabilities.items() if holds}


def test_backends_pages_have_those_of_this_repository() -> None:
    folders = {path.parent.name for path in (DOCS.parent / "amltk_backends").glob("*/pyproject.toml")}
    there = {folder.removeprefix("amltk-") for folder in folders - {"amltk-dask-jobqueue"}}  # which others build on
    assert {*BACKEND_SECTIONS, *BATCH_SECTIONS} == there
