"""What `amltk doctor NAME --job-script` prints: names of variables and options, and no value that may be secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from amltk.cli import main

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # its name is in the script


def script(system: str, capsys: pytest.CaptureFixture[str], **options: object) -> tuple[str, str]:
    pytest.importorskip(f"amltk_{system}")
    given = {"n_workers": 1, "cores": 1, "memory": "1 GB", **options}
    given |= {"disk": "1 GB"} if system == "htcondor" else {}
    words = [word for name, value in given.items() for word in ("--option", f"{name}={value!r}")]
    assert main(["doctor", system, "--job-script", *words]) == 0
    said = capsys.readouterr()
    return said.out, said.err


@pytest.mark.parametrize("system", ["slurm", "pbs", "sge", "lsf", "moab", "htcondor", "oar"])
@pytest.mark.parametrize(
    "line",
    [
        f"export TOKEN={SECRET}",
        f"export A={SECRET} B='a {SECRET}'; module load cuda",
        f'export WHATEVER="a {SECRET}"',
        f"setenv TOKEN {SECRET}",
        f"declare -x TOKEN={SECRET}",
        f"A={SECRET} ./login",
        f"login --password {SECRET}",
        f"curl https://me:{SECRET}@host/x",
        f"export KEY='-----\n{SECRET}\n-----'",
    ],
)
def test_a_prologue(system: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = script(system, capsys, job_script_prologue=[line, "module load cuda"])
    assert SECRET not in out
    assert "module load cuda" in out
    assert err == "amltk doctor: ... stands for values that may be secret; the batch system gets them.\n"


@pytest.mark.parametrize(
    "options",
    [
        {"env_extra": [f"export TOKEN={SECRET}"]},
        {"job_extra_directives": [f"--export=ALL,API_TOKEN={SECRET}"]},
        {"worker_extra_args": [f"--api-key={SECRET}"]},
        {"worker_extra_args": ["--api-key", SECRET]},
        {"python": f"API_KEY={SECRET} python"},
    ],
)
@pytest.mark.filterwarnings("ignore:env_extra has been renamed:FutureWarning")
def test_other_options(options: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    out, err = script("slurm", capsys, **options)
    assert SECRET not in out
    assert "values that may be secret" in err


def test_directives_with_names(capsys: pytest.CaptureFixture[str]) -> None:
    directives = {"environment": f"TOKEN={SECRET}", "MY.Token": SECRET, "requirements": "Memory > 4"}
    out, _ = script("htcondor", capsys, job_extra_directives=directives)
    assert SECRET not in out
    assert "environment = ...\n" in out
    assert "requirements = Memory > 4\n" in out


def test_what_is_no_secret_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    directives = ["--gres=gpu:1", "--mem-per-cpu=2G"]
    out, err = script("slurm", capsys, job_extra_directives=directives, job_script_prologue=["module load cuda/12"])
    assert all(f"#SBATCH {line}\n" in out for line in directives)
    assert "module load cuda/12\n" in out
    assert "export PYTHONPATH=/" in out
    assert err == ""


def test_a_job_has_what_is_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("amltk_slurm")
    from amltk_dask_jobqueue import cluster
    from amltk_dask_jobqueue.system import Commands
    from amltk_slurm.plugin import Slurm

    options = {"cores": 1, "memory": "1 GB", "job_script_prologue": [f"export TOKEN={SECRET}"]}
    kind, prepared = cluster._prepared(Slurm.system, Commands(Slurm.system), options, tmp_path, tmp_path)
    assert f"export TOKEN={SECRET}\n" in cluster._job(kind, prepared).job_script()
    assert SECRET not in Slurm(n_workers=1, **options).job_script()
