"""Holds together what the pages name: links, anchors, modules; and keeps other people's hosts out of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("amltk_*/**/README.md"))]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]*)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)

# Named in prose, they go stale, and tell more about where we work than about what we make.
OUTSIDE = re.compile(r"https?://|\bwww\.|\b[\w-]+\.(?:org|com|io|net|dev|cloud)\b|github|gitlab|bitbucket|pypi", re.I)


def prose_of(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them: in lower case, hyphens for spaces, no other signs."""
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
    assert OUTSIDE.findall(page.read_text(encoding="utf-8")) == []


def test_each_page_is_listed_in_the_index() -> None:
    listed = set(LINK.findall(prose_of(ROOT / "docs" / "README.md")))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert listed == pages | {"../CONTRIBUTING.md"}


def test_architecture_page_has_each_module_of_the_core() -> None:
    core = ROOT / "amltk_core" / "src" / "amltk"
    modules = {str(path.relative_to(core).with_suffix("")).replace("/", ".") for path in core.rglob("*.py")}
    modules = {module for module in modules if "__" not in module and not module.startswith("display.")} | {"display"}
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("| floor |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`([\w.]+)`", line.split("|")[2])}
    assert named == modules


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
