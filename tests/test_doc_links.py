"""Holds together what the pages name: links, anchors, modules; and keeps other people's hosts out of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("amltk_*/**/README.md"))]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]*)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)

# Named in prose, they go stale, and tell more about where we work than about what we make.
OUTSIDE = re.compile(
    r"https?://|\bwww\.|\b[\w-]+\.(?:org|com|io|net|dev|cloud)\b|github|gitlab|bitbucket|pypi", re.IGNORECASE
)


def prose_of(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them: lower case, hyphens for spaces, no other signs."""
    anchors: set[str] = set()
    for heading in HEADING.findall(prose_of(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in anchors:
            number += 1
        anchors.add(anchor)
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose_of(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_an_outside_host(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace(".github/", "")  # a folder that `amltk new` writes is no host
    assert OUTSIDE.findall(text) == []


def test_each_page_is_listed_in_the_index() -> None:
    listed = set(LINK.findall(prose_of(ROOT / "docs" / "README.md")))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert listed == pages | {"../CONTRIBUTING.md"}


def floors_in_the_code() -> dict[str, int]:
    """Return the floor of each module of the core, counted from below, as the test of the imports has it."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"]
    floors = ast.literal_eval(assigned[0].value)
    return {module.removeprefix("amltk."): number for number, floor in enumerate(floors, start=1) for module in floor}


def floors_on_the_page() -> dict[str, int]:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| floor |")[2].partition("\n\n")[0]
    floors, number = {}, 0
    for row in table.splitlines()[2:]:
        _, floor, modules, *_ = row.split("|")
        number = int(floor) if floor.strip() else number
        floors |= dict.fromkeys(re.findall(r"`([\w.]+)`", modules), number)
    return floors


def test_architecture_page_has_each_room_of_the_core_on_its_floor() -> None:
    # `amltk` itself only offers names, and `__main__` only starts the command.
    rooms = {room: floor for room, floor in floors_in_the_code().items() if room not in {"amltk", "__main__"}}
    assert floors_on_the_page() == rooms


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
