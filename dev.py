#!/usr/bin/env python3
"""Run one of the repository's jobs, in an environment of its own that is set up when it is needed.

    python3 dev.py digits [ARG...]    the example: a search over scikit-learn pipelines
    python3 dev.py test   [ARG...]    the tests; arguments go to pytest
    python3 dev.py tox    [ARG...]    tox, for everything else: `tox list` tells what there is

Needs Python 3.11 or newer and nothing else. Environments are made below `.venv/` in the checkout, and nothing outside
of it changes. A job whose requirements have not changed starts at once.
"""

# This part must run on any Python 3, and the whole file parse there: whoever has only an old one is told so.
import os
import shutil
import subprocess
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - it may well be
    for name in ("python3.14", "python3.13", "python3.12", "python3.11", "python3.15", "python3"):
        newer = shutil.which(name)
        check = "import sys; sys.exit(sys.version_info < (3, 11))"
        if newer and not subprocess.call([newer, "-c", check], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            os.execv(newer, [newer, *sys.argv])
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit("amltk needs Python 3.11 or newer. This is {}, and PATH has no newer one.".format(version))  # noqa: UP032 - so old that it has no f-strings

import hashlib
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
FOLDERS = sorted(str(p.parent.relative_to(ROOT)) for p in ROOT.glob("amltk_*/**/pyproject.toml"))


class Job(NamedTuple):
    """What runs, with which dependency groups of the root pyproject, and which of our distributions."""

    groups: list[str]
    ours: list[str]
    command: list[str]


PROCESSES, LIMITER, PYNISHER = (
    "amltk_backends/amltk-processes",
    "amltk_plugins/amltk-call-limiter",
    "amltk_plugins/amltk-pynisher",
)
JOBS = {
    "digits": Job(["build", "examples"], ["amltk_core", PROCESSES, LIMITER, PYNISHER], ["examples/tune_digits.py"]),
    "test": Job(["build", "test"], [".", *FOLDERS], ["-m", "pytest", "-n", "2", "--dist", "loadfile"]),
    "tox": Job(["tox"], [], ["-m", "tox"]),
}

# What leads pip or Python out of the environment, whoever set it.
ASTRAY = ("PIP_PREFIX", "PIP_PYTHON", "PIP_ROOT", "PIP_TARGET", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")

# Some machines have this set. Each process of a job would then compile all that it imports: dask alone takes a second.
SLOW = ("PYTHONDONTWRITEBYTECODE",)

# Only what is run gets compiled, when it is: that halves the time.
PIP_OPTIONS = ("-qq", "--no-compile")


def requirements(job: Job) -> list[str]:
    """Return all that the job needs from an index. Not left to pip: the one that a Python brings knows no groups."""
    pyprojects = {folder: tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in (".", *job.ours)}
    found = [need for group in job.groups for need in pyprojects["."]["dependency-groups"][group]]
    found += [need for folder in job.ours for need in pyprojects[folder]["project"]["dependencies"]]
    return [need for need in found if not need.startswith("amltk")]


def create(env: Path, python: Path, environ: dict[str, str]) -> list[str]:
    """Make an empty environment, by whatever means this machine has; return the command that installs into it."""
    reason = ""

    def works(*command: str | Path) -> bool:
        nonlocal reason
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        reason = reason or done.stdout + done.stderr  # the first one is the one to mend
        return done.returncode == 0

    shutil.rmtree(env, ignore_errors=True)
    if works(sys.executable, "-m", "venv", env):
        return [str(python), "-m", "pip", "install", *PIP_OPTIONS]
    # A Debian without python3-venv: the environment can be made all the same, only not its pip.
    shutil.rmtree(env, ignore_errors=True)
    if works(sys.executable, "-m", "venv", "--without-pip", env):
        outside_pip = [sys.executable, "-m", "pip", "--python", str(python)]
        if works(*outside_pip, "--version"):
            return [*outside_pip, "install", *PIP_OPTIONS]
        uv = shutil.which("uv")
        if uv:
            return [uv, "pip", "install", "-q", "--python", str(python)]
    virtualenv = shutil.which("virtualenv")
    if virtualenv and works(virtualenv, "--clear", "--python", sys.executable, env):
        return [str(python), "-m", "pip", "install", *PIP_OPTIONS]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    sys.exit(
        f"{sys.executable} cannot make an environment with pip in it:\n\n{reason.strip()}\n\n"
        f"On Debian and Ubuntu:  sudo apt-get install python{version}-venv\n"
        "Elsewhere, any one of pip, uv and virtualenv will do."
    )


def set_up(name: str, job: Job, environ: dict[str, str]) -> Path:
    """Return the Python of the job's environment, which is made anew if anything that it rests on has changed."""
    env = ROOT / ".venv" / name
    python = env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    rests_on = [Path(__file__), *(ROOT / folder / "pyproject.toml" for folder in (".", *FOLDERS))]
    digest = hashlib.sha256(f"{sys.version} {sys.executable} {ROOT}".encode())
    for path in rests_on:
        digest.update(path.read_bytes())
    stamp = env / "complete"  # written last: what was interrupted is made again
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return python

    print(f"Setting up {env} (this may take a minute)", file=sys.stderr, flush=True)
    install = create(env, python, environ)
    # None of ours is on an index, where `amltk` is another project: ours come from their folders alone.
    ours = [argument for folder in job.ours for argument in ("--editable", folder)]
    commands = [requirements(job), ["--no-index", "--no-deps", "--no-build-isolation", *ours]]
    for arguments in commands if ours else commands[:1]:
        if subprocess.call([*install, *arguments], env=environ, cwd=ROOT):
            sys.exit("Could not install what is needed; see above.")
    stamp.write_text(digest.hexdigest())
    return python


def main() -> None:
    """Run the job that the command line names, with the rest of it as its arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in JOBS:
        sys.exit(__doc__)
    name, *arguments = sys.argv[1:]
    environ = {key: value for key, value in os.environ.items() if key not in ASTRAY + SLOW}
    environ["PIP_USER"] = "0"  # also if a configuration file says otherwise
    python = set_up(name, JOBS[name], environ)
    environ |= {"VIRTUAL_ENV": str(python.parent.parent), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    os.chdir(ROOT)
    os.execve(python, [str(python), *JOBS[name].command, *arguments], environ)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
