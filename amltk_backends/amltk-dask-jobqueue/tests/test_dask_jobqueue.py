"""What the backends for batch systems share; how they run is tested with `amltk-slurm`."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask
import pytest

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue import job_reaper_process
from amltk_dask_jobqueue.backend import BatchBackend
from amltk_dask_jobqueue.cluster import open_cluster
from amltk_dask_jobqueue.job_reaper import JobReaper
from amltk_dask_jobqueue.logs import exit_code_in, missing_module, tail_of_log, without_chatter
from amltk_dask_jobqueue.system import BatchSystem, Commands, JobState, run
from amltk_slurm.plugin import Slurm
from amltk_testing import BackendTests


class Example(BatchSystem):
    name = "example"
    title = "Example"
    cluster = "SLURMCluster"
    submit_command = "submit"
    cancel_command = "cancel"

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        return {}


@pytest.mark.parametrize(
    ("submit", "cancel", "asked"),
    [
        (None, "cancel", ["look", "1"]),
        ("submit --extra", "cancel", ["look", "1"]),
        ("/opt/bin/submit --extra", "/opt/bin/cancel", ["/opt/bin/look", "1"]),
        ("ssh login submit", "ssh login cancel", ["ssh", "login", "look", "1"]),
        ("my-own-thing", "cancel", ["look", "1"]),
    ],
)
def test_commands_are_where_the_submit_command_is(submit, cancel, asked, monkeypatch):
    ran = []
    monkeypatch.setattr("amltk_dask_jobqueue.system.run", ran.append)
    commands = Commands(Example(), submit)
    assert commands.cancel == cancel
    commands.ask("look", "1")
    assert ran == [asked]


def test_a_command_that_fails_says_what_it_said():
    with pytest.raises(
        BatchSystemError, match=r"The command .* failed with exit code 3: no such queue\nsorry"
    ) as caught:
        run(["/bin/sh", "-c", "echo sorry; echo no such queue >&2; exit 3"])
    assert caught.value.output == "no such queue\nsorry"
    with pytest.raises(BatchSystemError, match="can't be run: No such file"):
        run(["/nowhere/submit"])


def test_commands_are_told_where_they_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PWD", raising=False)
    assert run([sys.executable, "-c", "import os; print(os.environ['PWD'])"]).strip() == str(tmp_path)


def test_a_command_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr("amltk_dask_jobqueue.system.COMMAND_SECONDS", 0.2)
    with pytest.raises(BatchSystemError, match=r"did not answer within 0\.2 s"):
        run(["sleep", "30"])


def test_the_log_of_a_job_is_found_by_its_number(tmp_path):
    (tmp_path / "worker-17.err").write_text("one\n\ntwo\n")
    (tmp_path / "worker-170.err").write_text("another\n")
    assert tail_of_log(tmp_path, "17") == "one\ntwo"
    assert tail_of_log(tmp_path, "17.server") == "one\ntwo"
    assert tail_of_log(tmp_path, "1") == ""
    assert tail_of_log(tmp_path / "none", "17") == ""


def test_what_dask_writes_of_a_worker_that_ended():
    log = "2026-11-22 15:28:53,594 - distributed.nanny - INFO - Worker process {} {}\nSegmentation fault"
    assert exit_code_in(log.format(17, "exited with status 3"), 17) == 3
    assert exit_code_in(log.format(17, "was killed by signal 9"), 17) == -9
    assert exit_code_in(log.format(17, "was killed by signal 9"), 1) is None
    assert without_chatter(log) == "Segmentation fault"


def test_what_a_job_could_not_import():
    assert missing_module("Error (ModuleNotFoundError: No module named 'distributed')") == "distributed"
    assert missing_module("/usr/bin/python: No module named amltk_dask_jobqueue") == "amltk_dask_jobqueue"
    assert missing_module("ModuleNotFoundError: No module named 'numpy'") == ""


def test_the_reaper_cancels_what_is_left_and_removes_the_folder(tmp_path):
    told, folder = tmp_path / "told", tmp_path / "logs"
    folder.mkdir()
    command = [sys.executable, job_reaper_process.__file__, folder, "/bin/sh", "-c", f'echo "$@" > {told}', "cancel"]
    subprocess.run(command, input="+1\n+2\n+3\n-2\n", text=True, check=True, timeout=30)
    assert told.read_text() == "1 3\n"
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL], ids=str)
def test_a_program_that_is_ended_by_a_signal_leaves_no_folder(number, tmp_path, until):
    """Wherever its folders are: that of the jobs' output, and the one on this machine."""
    (temporary := tmp_path / "temporary").mkdir()
    (here := tmp_path / "here").mkdir()
    program = f"""
import os, signal
from pathlib import Path
from typing import Any
from amltk_dask_jobqueue.job_reaper import JobReaper
reaper = JobReaper("sh -c 'echo $0 > {tmp_path}/cancelled'", None, ".amltk-example-")
Path(reaper.scratch("amltk-example-"), "file").touch()
reaper.add("7")
print(len(os.listdir()), len(os.listdir({str(temporary)!r})), flush=True)
signal.signal({int(number)}, signal.SIG_DFL) if {number != signal.SIGKILL} else None
os.kill(os.getpid(), {int(number)})
"""
    environ = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=here, env=environ, stdout=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (-number, ["1", "1"])
    until(lambda: [*here.iterdir(), *temporary.iterdir()] == [])
    assert (tmp_path / "cancelled").read_text() == "7\n"


def test_a_guard_that_is_closed_leaves_nothing(nothing_is_left, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reaper = JobReaper("false", None, ".amltk-example-")
    assert reaper.folder.parent == tmp_path
    scratch = Path(reaper.scratch("amltk-example-"))
    assert scratch.is_dir()
    reaper.add("1")
    reaper.remove("1")
    reaper.close()
    assert list(tmp_path.iterdir()) == []
    assert not scratch.exists()
    assert not reaper.add("2"), "nobody is there who would cancel it"


SYSTEMS = ["htcondor", "lsf", "moab", "oar", "pbs", "sge", "slurm"]
NEEDS = {"n_workers": 1, "cores": 1, "memory": "1 GB"}


def text_options(name: str) -> list[str]:
    mine = {"lsf": ["project"], "oar": ["project", "resource_spec"], "htcondor": ["disk"]}.get(name)
    return ["job_name", *([] if name == "htcondor" else ["queue", "walltime"]), *(mine or [])]


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("line_break", ["\n", "\r", "\x00", "\u2028"], ids=ascii)
def test_an_option_adds_no_line_to_the_job_script(name, line_break):
    more = f"x{line_break}#more"
    options = dict.fromkeys([*text_options(name), "python", "log_directory", "local_directory"], more)
    options |= {"memory": more, "worker_extra_args": ["--resources", more], "shebang": more}
    options["job_extra_directives"] = {"a": more} if name == "htcondor" else [more]
    for option, value in options.items():
        with pytest.raises(ValueError, match=f"{option} must be text of one line, without control characters, got"):
            Scheduler.with_backend(name, **{**NEEDS, option: value})


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "htcondor"])
@pytest.mark.parametrize("value", ["short -A other", "x' -q 'y", 'x" -q "y', "-A", "", "$HOME", "`id`"])
def test_a_name_adds_no_option_to_its_line(name, value):
    for option in [each for each in text_options(name) if each != "resource_spec"]:
        with pytest.raises(ValueError, match=f"{option} must be one word without quotes"):
            Scheduler.with_backend(name, **{**NEEDS, option: value})


@pytest.mark.parametrize("name", SYSTEMS)
def test_commands_are_checked(name):
    for option in ("submit_command", "cancel_command"):
        for value, why in [("x\ny", "of one line"), ("x 'y", "No closing quotation"), (" ", "a command")]:
            with pytest.raises(ValueError, match=f"{option} must be .*{why}"):
                Scheduler.with_backend(name, **{**NEEDS, option: value})


def test_values_of_dasks_configuration_are_checked_as_well():
    for option, name in [("queue", "queue"), ("job_name", "name")]:
        with (
            dask.config.set({f"jobqueue.slurm.{name}": "short\n#SBATCH -A other"}),
            pytest.raises(ValueError, match=f"{option} must be text of one line"),
        ):
            Scheduler.with_slurm(**NEEDS)


def test_a_folder_adds_no_line_to_the_job_script(tmp_path, monkeypatch):
    folder = tmp_path / "a\n#$ -q other"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ValueError, match=r"sys\.path must be text of one line"):
        Scheduler.with_sge(**NEEDS)
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"current directory must be text of one line"):
        Scheduler.with_sge(**NEEDS)


def test_lines_that_are_meant_for_the_script_may_be_several():
    Scheduler.with_slurm(**NEEDS, job_script_prologue=["module load cuda\nexport MODE=full"])


def test_a_job_script_is_its_users_alone(tmp_path, monkeypatch):
    before = os.umask(0)
    try:
        options = {"cores": 1, "memory": "1 GB"}
        cluster = open_cluster(Example(), Commands(Example()), options, tmp_path / "logs", tmp_path, str(tmp_path))
        try:
            job = cluster.job_cls("tcp://127.0.0.1:1", name="worker", **options)
            with job.job_file() as path:
                assert Path(path).stat().st_mode & 0o777 == 0o600
                assert Path(path).read_text() == job.job_script()
        finally:
            cluster.close()
    finally:
        os.umask(before)
    assert not Path(path).exists()


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_constructor_has_and_documents_the_options_of_all_batch_systems_and_its_own(name):
    class Suite(BackendTests):
        backend = name
        shares = ("amltk_dask_jobqueue",)

    Suite().test_importing_the_plugin_is_light()
    constructor = getattr(Scheduler, f"with_{name}")
    options = inspect.signature(constructor).parameters
    shared = inspect.signature(BatchBackend).parameters
    assert set(shared) < set(options)
    names = list(options)
    assert (names[0], names[-1]) == ("n_workers", "options")
    documented = re.findall(r"^    \*{0,2}(\w+): ", constructor.__doc__, re.MULTILINE)
    assert documented == names
    assert "{" not in constructor.__doc__.replace('{"Requirements": "HasGPU"}', "")
    assert f"amltk doctor {name} --job-script" in constructor.__doc__


def test_what_a_subclass_documents_is_put_before_what_is_shared():
    class Deep(Slurm):
        """A batch system with one more option."""

        def __init__(self, n_workers: int, *, depth: int = 1, **options: Any) -> None:
            """Run calls deep down.

            Args:
                n_workers: How many.
                depth: How deep.
            """
            super().__init__(n_workers, **options)

    assert list(inspect.signature(Deep).parameters)[:3] == ["n_workers", "depth", "queue"]
    assert Deep.__init__.__doc__.startswith("Run calls deep down.\n\ndask-jobqueue writes the job script")
    assert "    n_workers: How many.\n    depth: How deep.\n    queue: The partition" in Deep.__init__.__doc__
