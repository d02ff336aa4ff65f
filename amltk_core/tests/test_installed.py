"""Entry points of installed distributions that are malformed, or can't be read."""

from __future__ import annotations

import shutil

import pytest

from amltk import Scheduler
from amltk.cli import main
from amltk.exceptions import BrokenBackendError
from amltk.plugins import entry_points
from amltk.plugins.entry_points import Source
from amltk.plugins.listing import list_backends

GOOD = """
    from concurrent.futures import ThreadPoolExecutor
    from amltk.backend import Backend

    class Good(Backend):
        name = "good"
        summary = "Good."

        def __init__(self, size=1):
            self.size = size

        def open(self):
            return ThreadPoolExecutor(self.size)

    class Best(Good):
        name = "best"
"""


@pytest.fixture(params=["folders", "finders"], autouse=True)
def found(request, monkeypatch):
    """Find distributions as folders of the path, and through `importlib.metadata`, as where one is in a zip file."""
    monkeypatch.setattr("amltk.plugins.entry_points._all_are_in_folders", lambda: request.param == "folders")
    return request.param


def add(site, text, *, distribution="their-good", metadata=True):
    """Add a distribution with this `entry_points.txt`."""
    site.add(distribution, GOOD, backends="good = @:Good", metadata=metadata)
    (info,) = site.folder.glob(f"{distribution.replace('-', '_')}-1.0.dist-info")
    path = info / "entry_points.txt"
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text, encoding="utf-8")


def rows(name=None):
    return {row.name: row for row in list_backends() if name in (None, row.name)}


MALFORMED = [
    ("bad = not a module!", "bad", "'bad = not a module!' in [amltk.backends]"),
    ("bad = their-good", "bad", "'bad = their-good' in [amltk.backends]"),
    ("bad = their_good:a:b", "bad", "'bad = their_good:a:b' in [amltk.backends]"),
    ("bad = their_good  # why", "bad", "'bad = their_good  # why' in [amltk.backends]"),
    ("bad =", "bad", "'bad' in [amltk.backends]"),
    ("bad", "bad", "'bad' in [amltk.backends]"),
    ("bad: their_good", "bad: their_good", "'bad: their_good' in [amltk.backends]"),
]


@pytest.mark.parametrize(("line", "name", "said"), MALFORMED)
def test_a_malformed_entry_point_is_told_and_hides_no_other(site, capsys, line, name, said):
    add(site, f"[amltk.backends]\ngood = their_good:Good\n{line}\nbest = their_good:Best\n")
    found = rows()
    assert found["good"].status == found["best"].status == found["threads"].status == "ready"
    assert (found[name].status, found[name].distribution) == ("broken", "their-good")
    assert said in found[name].reason
    assert "malformed: it must be" in found[name].reason
    Scheduler.with_good(1)
    with pytest.raises(BrokenBackendError, match=r"their-good 1\.0 is broken: its entry point"):
        Scheduler.with_backend(name)
    assert main(["backends", "--json"]) == 0
    assert "malformed" in capsys.readouterr().out


def test_in_another_group_it_hides_nothing_either(site, caplog):
    add(site, "[console_scripts]\nrun = no no\n[amltk.backends]\ngood = their_good:Good\n[pytest11]\nx\n")
    assert rows("good")["good"].status == "ready"
    assert "distribution their-good has a malformed entry point: [console_scripts] run = no no." in caplog.text


def test_of_a_distribution_without_anything_of_ours_nothing_is_said(site, caplog):
    add(site, "[console_scripts]\nrun\n[other]\nx = y z\n", distribution="somebodys")
    assert "threads" in rows()
    assert "somebodys" not in caplog.text


def test_what_is_not_utf_8_is_told_and_hides_no_other(site):
    add(site, b"[amltk.backends]\ngood = their_good:Good\nb\xe4d = their_g\xf6\xf6d\n")
    found = rows()
    assert found["good"].status == "ready"
    (broken,) = [row for row in found.values() if row.distribution == "their-good" and row.status == "broken"]
    assert "malformed" in broken.reason


def test_sections_may_come_twice(site):
    more = "# more\n[amltk.observers]\n[amltk.backends]\nbest = their_good:Best\ngood = their_good:Good\n"
    add(site, f"[amltk.backends]\ngood = their_good:Good\n\n{more}")
    found = rows()
    assert found["good"].status == found["best"].status == "ready"


def test_one_name_for_two_modules_of_one_distribution(site):
    add(site, "[amltk.backends]\ngood = their_good:Good\ngood = their_other\n")
    found = rows("good")["good"]
    assert found.status == "broken"
    assert found.reason == "it is named 2 times there: their_good:Good, their_other; keep one"


def test_distributions_without_metadata_hide_one_another_no_more(site):
    for number in range(3):
        site.add(f"nameless-{number}", None, backends=f"lost{number} = lost {number}!", metadata=False)
    add(site, "[amltk.backends]\ngood = their_good:Good\nbad\n", metadata=False)
    found = rows()
    assert found["good"].status == "ready"
    assert {found[name].status for name in ("bad", "lost0", "lost1", "lost2")} == {"broken"}


def test_metadata_that_is_not_utf_8_is_as_none(site):
    add(site, "[amltk.backends]\ngood = their_good:Good\nbad\n")
    (metadata,) = site.folder.glob("their_good*/METADATA")
    metadata.write_bytes(b"Metadata-Version: 2.1\nName: their-good\nVersion: 1.0\nAuthor: M\xfcller\n")
    found = rows()
    assert found["good"].status == "ready"
    assert found["bad"].distribution == "an unknown distribution"


def test_a_folder_in_the_place_of_the_file_harms_nobody_else(site):
    add(site, "")
    (path,) = site.folder.glob("their_good*/entry_points.txt")
    path.unlink()
    path.mkdir()
    assert "threads" in rows()


def test_a_distribution_that_cannot_be_read_at_all_is_named(site, caplog, monkeypatch):
    add(site, "[amltk.backends]\ngood = their_good:Good\n")
    read = Source.entry_points_text

    def fail(source):
        if source.name == "their_good":
            raise OSError(5, "Input/output error")
        return read(source)

    monkeypatch.setattr(Source, "entry_points_text", fail)
    assert "threads" in rows()
    assert "their-good can't be read, so it is passed over: OSError: [Errno 5]" in caplog.text


def test_a_distribution_in_a_zip_file_is_found(site, monkeypatch, tmp_path):
    monkeypatch.undo()
    add(site, "[amltk.backends]\ngood = their_good:Good\n")
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", site.folder)
    shutil.rmtree(site.folder)
    site.folder.mkdir()
    # There, so that what is imported from it goes with the site.
    with monkeypatch.context() as patch:
        patch.syspath_prepend(shutil.move(archive, site.folder / "all.zip"))
        assert rows("good")["good"].status == "ready"


def test_an_earlier_distribution_hides_a_later_one_of_its_name(site, monkeypatch, tmp_path):
    add(site, "[amltk.backends]\ngood = their_good:Good\n")
    hiding = tmp_path / "hiding" / "Their.good-2.0.dist-info"
    hiding.mkdir(parents=True)
    (hiding / "METADATA").write_text("Metadata-Version: 2.1\nName: their-good\nVersion: 2.0\n")
    with monkeypatch.context() as patch:  # undone before the site is closed
        patch.syspath_prepend(hiding.parent)
        assert "good" not in rows()


def test_both_ways_find_the_same_on_this_machine(found, monkeypatch):
    def entries():
        found = entry_points._entry_points()
        return sorted((entry.group, entry.name, entry.value, entry.source.name) for entry in found)

    these = entries()
    monkeypatch.setattr(entry_points, "_all_are_in_folders", lambda: found != "folders")
    assert these == entries()
    assert ("amltk.backends", "threads", "amltk_threads.plugin:Threads", "amltk_threads") in these
