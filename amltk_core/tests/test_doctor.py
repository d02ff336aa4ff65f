"""`amltk doctor`: what is right is said, and what is wrong, whatever a backend does to its process."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points

import pytest

from amltk import cli
from amltk.doctor import Check, Diagnosis, examine, examine_all, process
from amltk.exceptions import UnknownBackendError

GOOD = """
    import os, signal, sys, threading, time
    from concurrent.futures import Future, ThreadPoolExecutor
    from amltk.backend import Backend

    print("a plugin that talks")

    class Pool(ThreadPoolExecutor):
        pass

    class Good(Backend):
        name = "good"
        summary = "Good."

        def __init__(self, size: int = 1):
            self.size = size

        def open(self):
            return Pool(self.size)
"""

TASK_PLUGIN = """
    from amltk import TaskPlugin

    class Good(TaskPlugin):
        name = "good"
"""

SUBMIT = "def submit(self, function, *args, **kwargs): "


def pool(code: str) -> str:
    return GOOD.replace("        pass", f"        {code}", 1)


# What is wrong, the step that fails, and what is said of it.
FAULTY = {
    "fails on import": ("1 / 0", "load", "ZeroDivisionError: division by zero"),
    "ends the process on import": ("import os; os._exit(3)", "load", "its process ended with exit code 3"),
    "is made for another contract": (GOOD + "    AMLTK_CONTRACT = 2", "load", "made for version 2"),
    "cannot be made": (
        GOOD.replace("return Pool(self.size)", "raise OSError('no place')"),
        "start",
        "OSError: no place",
    ),
    "makes no executor": (
        GOOD.replace("return Pool(self.size)", "return 3"),
        "start",
        "not a concurrent.futures.Executor",
    ),
    "does not submit": (pool(SUBMIT + "raise OSError('no way')"), "call", "OSError: no way"),
    "gives a wrong result": (pool(SUBMIT + "f = Future(); f.set_result(5); return f"), "call", "6 * 7 gave 5"),
    "fails the call": (pool(SUBMIT + "return super().submit(divmod, 1, 0)"), "call", "ZeroDivisionError"),
    "cancels the call": (
        pool(SUBMIT + "f = Future(); f.cancel(); f.set_running_or_notify_cancel(); return f"),
        "call",
        "the backend cancelled the call",
    ),
    "dies in a call": (
        pool(SUBMIT + "print('Segmentation fault'); os.kill(os.getpid(), signal.SIGSEGV)"),
        "call",
        "its process ended with signal SIGSEGV; its last output: Segmentation fault",
    ),
    "does not shut down": (pool("def shutdown(self, *args, **kwargs): raise OSError('stuck')"), "stop", "stuck"),
}

# The same of what does not come to an end.
HANGING = {
    "hangs on import": (GOOD + "    time.sleep(60)", "load", "it did not end within 2 s"),
    "hangs when it is made": (GOOD.replace("return Pool", "time.sleep(60); Pool"), "start", "it did not end"),
    "never resolves a future": (pool(SUBMIT + "return Future()"), "call", "it did not end within 2 s"),
    "hangs at shutdown": (pool("def shutdown(self, *args, **kwargs): time.sleep(60)"), "stop", "it did not end"),
    "leaves a thread": (
        pool(
            "def shutdown(self, *args, **kwargs): threading.Thread(target=time.sleep, args=(60,), daemon=False).start()"
        ),
        "stop",
        "its process does not end within 2 s: the backend still runs something",
    ),
}

INSTALLED = sorted({each.name for each in entry_points(group="amltk.backends")})

STEPS = ["installed", "versions", "load", "start", "call", "stop"]


@pytest.fixture
def path(site, monkeypatch):
    """Fake distributions that the process of an examination sees, too."""
    monkeypatch.setenv("PYTHONPATH", str(site.folder))
    return site


def failures(found: Diagnosis) -> list[Check]:
    return [check for check in found.checks if check.status == "failed"]


def needs(site, *requirements: str) -> None:
    with (site.folder / "their_good-1.0.dist-info" / "METADATA").open("a") as metadata:
        metadata.writelines(f"Requires-Dist: {each}\n" for each in requirements)


def test_a_backend_that_works_passes_every_step(path):
    path.add("their-good", GOOD, backends="good = @:Good")
    found = examine("good", run=True, limit=30)
    assert [check.name for check in found.checks] == STEPS
    assert {check.status for check in found.checks} == {"ok"}
    assert found.ok
    assert [check.seconds is not None for check in found.checks] == [False, False, True, True, True, True]
    assert found.checks[0].detail == "their-good 1.0"


def test_nothing_is_started_where_that_is_left_out(path):
    path.add("their-good", FAULTY["cannot be made"][0], backends="good = @:Good")
    found = examine("good", run=False, limit=30)
    assert [check.name for check in found.checks] == STEPS[:3]
    assert found.ok


@pytest.mark.parametrize("case", FAULTY)
def test_what_fails_is_reported_with_its_step(path, case):
    code, step, said = FAULTY[case]
    path.add("their-good", code, backends="good = @:Good")
    found = examine("good", run=True, limit=30)
    assert not found.ok
    (failure,) = failures(found)
    assert failure.name == step
    assert said in failure.detail


@pytest.mark.parametrize("case", HANGING)
def test_what_hangs_is_ended_and_reported_with_its_step(path, case, monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 1.0)
    code, step, said = HANGING[case]
    path.add("their-good", code, backends="good = @:Good")
    found = examine("good", run=True, limit=2)
    (failure,) = failures(found)
    assert failure.name == step == found.checks[-1].name
    assert said in failure.detail


def test_a_backend_whose_time_is_up_closes_its_executor_before_it_is_killed(path, tmp_path):
    never = SUBMIT + "return Future()"
    close = f"def shutdown(self, *args, **kwargs): open({str(tmp_path / 'closed')!r}, 'w').close()"
    path.add("their-good", pool(f"{never}\n        {close}"), backends="good = @:Good")
    (failure,) = failures(examine("good", run=True, limit=2))
    assert failure.name == "call"
    assert (tmp_path / "closed").exists()


@pytest.mark.parametrize(("then", "ok"), [("pass", True), ("os._exit(3)", False)])
def test_what_a_backend_leaves_behind_holds_nobody_up(path, tmp_path, then, ok):
    leave = f"""
        if not os.fork():
            os.setsid()
            open({str(tmp_path / "new")!r}, "w").write(str(os.getpid()))
            os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "pid")!r})
            time.sleep(50)
            os._exit(0)
        while not os.path.exists({str(tmp_path / "pid")!r}):
            time.sleep(0.01)
        {then}
    """
    made = "            return Pool(self.size)"
    code = GOOD.replace(made, f"{textwrap.indent(leave, '    ')}{made.removeprefix('    ')}")
    path.add("their-good", code, backends="good = @:Good")
    found = examine("good", run=True, limit=5)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it was there until now
    assert found.ok is ok
    assert all(check.detail.startswith("its process ended with exit code 3") for check in failures(found))


def test_a_backend_with_options_that_one_must_give_is_not_started(path):
    path.add("their-good", GOOD.replace("size: int = 1", "queue, size=1, *args, **more"), backends="good = @:Good")
    found = examine("good", run=True, limit=30)
    assert found.checks[-1].name == "start"
    assert found.checks[-1].status == "left out"
    assert "with_good() has no default for: queue" in found.checks[-1].detail
    assert found.ok


# Versions


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("amltk-core>=99", "their-good 1.0 needs amltk-core>=99, but "),
        ("a-thing-that-is-missing>=2", "needs a-thing-that-is-missing>=2, which is not installed: pip install '"),
        ("!!!", "needs '!!!', which cannot be parsed"),
    ],
)
def test_what_does_not_fit_is_named(path, requirement, said):
    pytest.importorskip("packaging")
    path.add("their-good", GOOD, backends="good = @:Good")
    needs(path, requirement)
    found = examine("good", run=True, limit=30)
    (failure,) = failures(found)
    assert failure.name == "versions"
    assert said in failure.detail
    assert found.checks[-1].name == "stop", "it is tried all the same"


def test_what_needs_need_is_looked_at_as_well(path):
    pytest.importorskip("packaging")
    path.add("their-good", GOOD, backends="good = @:Good")
    needs(path, "amltk-core", "middle[side]")
    path.add("middle", "", backends="")
    (path.folder / "middle-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: middle\nVersion: 1.0\nProvides-Extra: side\n"
        "Requires-Dist: their-good<1; extra == 'side'\nRequires-Dist: nowhere; extra == 'other'\n"
    )
    (failure,) = failures(examine("good", run=False, limit=30))
    assert failure.detail.startswith("middle 1.0 needs their-good<1, but 1.0 is installed")
    assert "nowhere" not in failure.detail


def test_what_can_be_left_out_and_what_another_python_needs_is_not_missed(path):
    path.add("their-good", GOOD, backends="good = @:Good")
    needs(path, "amltk-core", "nowhere; extra == 'more'", "elsewhere; python_version < '3'")
    found = examine("good", run=False, limit=30)
    assert found.ok
    assert found.checks[1].detail.startswith("amltk-core 0.")


def test_without_packaging_versions_are_listed_and_not_judged(path, monkeypatch):
    path.add("their-good", GOOD, backends="good = @:Good")
    needs(path, "amltk-core>=99")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("packaging"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    check = examine("good", run=False, limit=30).checks[1]
    assert check.status == "left out"
    assert check.detail.startswith("amltk-core 0.")
    assert "to compare versions: pip install packaging" in check.detail


# Which backends


def test_all_that_are_installed_are_examined_and_task_plugins_are_not(path):
    path.add("their-good", TASK_PLUGIN, task_plugins="good = @:Good")
    path.add("their-fine", GOOD.replace('"good"', '"fine"'), backends="fine = @:Good")
    found = {each.backend: each.ok for each in examine_all(run=False, limit=30)}
    assert found["fine"]
    assert found["threads"]
    assert not {"good", "call-limiter"} & set(found)


def test_of_two_distributions_that_bring_one_name_both_are_shown(path):
    path.add("good-one", GOOD, backends="good = @:Good")
    path.add("good-two", GOOD, backends="good = @:Good")
    found = examine("good", run=True, limit=30)
    assert found.checks[0].detail == "good-one 1.0 and good-two 1.0"
    assert "both bring it" in found.checks[-1].detail
    assert not found.ok


def test_a_distribution_without_metadata_is_said_to_be_that(path):
    path.add("their-good", GOOD, backends="good = @:Good", metadata=False)
    found = examine("good", run=True, limit=30)
    assert "has no metadata" in found.checks[0].detail


@pytest.mark.parametrize("name", ["nonsense", "good"])
def test_what_is_no_backend_cannot_be_examined(path, name):
    path.add("their-good", TASK_PLUGIN, task_plugins="good = @:Good")
    with pytest.raises(UnknownBackendError, match=f"There is no backend '{name}'"):
        examine(name, run=True, limit=30)


def test_a_known_backend_that_is_missing_is_said_to_be_that(path, faraway):
    (check,) = examine("faraway", run=True, limit=30).checks
    assert check == Check("installed", "failed", check.detail)
    assert "pip install ./amltk_backends/amltk-faraway" in check.detail


def test_a_disabled_backend_is_only_examined_when_it_is_asked_for(path, monkeypatch):
    path.add("their-good", GOOD, backends="good = @:Good")
    monkeypatch.setenv("AMLTK_DISABLE_PLUGINS", ",".join(["good", *INSTALLED]))
    assert examine_all(run=True, limit=30) == []
    (failure,) = failures(examine("good", run=True, limit=30))
    assert "AMLTK_DISABLE_PLUGINS" in failure.detail


# The command


def doctor(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "amltk", "doctor", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_the_command_prints_a_table_and_ends_with_0(path):
    path.add("their-good", GOOD, backends="good = @:Good")
    done = doctor("good")
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = [line.split() for line in done.stdout.splitlines()]
    assert header == ["BACKEND", "CHECK", "STATUS", "TIME", "ABOUT"]
    assert [row[:3] for row in rows] == [["good", step, "ok"] for step in STEPS]


def test_the_command_ends_with_1_when_something_is_wrong_and_says_it_in_json(path):
    path.add("their-good", FAULTY["does not submit"][0], backends="good = @:Good")
    done = doctor("good", "--json", "--timeout", "30")
    assert (done.returncode, done.stderr) == (1, "")
    (found,) = json.loads(done.stdout)
    assert found["backend"] == "good"
    assert found["ok"] is False
    assert [check["name"] for check in found["checks"]] == STEPS
    assert list(found["checks"][4]) == ["name", "status", "detail", "seconds"]


def test_the_command_ends_with_2_when_the_command_line_is_wrong(path):
    assert doctor("nonsense").returncode == 2
    assert "There is no backend 'nonsense'" in doctor("nonsense").stderr
    done = doctor("--timeout", "0")
    assert done.returncode == 2
    assert "--timeout: must be a number of seconds, more than 0, got '0'" in done.stderr


def test_without_any_backend_the_command_says_so(path, monkeypatch, capsys):
    monkeypatch.setenv("AMLTK_DISABLE_PLUGINS", ",".join(INSTALLED))
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith("No backend is installed.")
