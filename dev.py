#!/usr/bin/env python3
"""Run a job of the repository in an environment of its own, which is set up on first use.

    python3 dev.py digits [ARG...]    the example: a search over scikit-learn pipelines
    python3 dev.py test   [ARG...]    the quick tests, or all with --all; arguments go to pytest
    python3 dev.py tox    [ARG...]    tox, for everything else: `tox list` shows all environments

Needs only Python 3.11 or newer. It installs tox below `.venv/` in the checkout, and tox makes the environments of
tox.ini below `.tox/`. Nothing outside of these two folders changes. A job whose requirements have not changed starts at
once.
"""

# This part must run, and the whole file must parse, on any Python 3, to report a Python that is too old.
import os
import shutil
import subprocess
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - it may be older
    for name in ("python3.14", "python3.13", "python3.12", "python3.11", "python3.15", "python3"):
        newer = shutil.which(name)
        check = "import sys; sys.exit(sys.version_info < (3, 11))"
        if newer and not subprocess.call([newer, "-c", check], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            os.execv(newer, [newer, *sys.argv])
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit("amltk needs Python 3.11 or newer. This is {}, and PATH has no newer one.".format(version))  # noqa: UP032 - so old that it has no f-strings

import hashlib
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TOX = ROOT / ".venv" / "tox"

# Arguments for the Python of an environment; tox.ini defines the environment, under the same name.
JOBS = {
    "digits": ["examples/tune_digits.py"],
    "test": ["-m", "pytest", "-n", "2", "--dist", "loadfile"],
}

# Variables that lead pip or Python out of the environment.
ASTRAY = ("PIP_PREFIX", "PIP_PYTHON", "PIP_ROOT", "PIP_TARGET", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")

# Some machines set this. Each process of a job would then compile all of its imports: dask alone takes a second.
SLOW = ("PYTHONDONTWRITEBYTECODE",)

# Python compiles modules on import: that halves the time of an installation.
PIP_OPTIONS = ("-qq", "--no-compile")


def create(env: Path, python: Path, environ: dict[str, str]) -> list[str]:
    """Make an empty environment in one of several ways; return the command that installs packages into it."""
    reason = ""

    def works(*command: str | Path) -> bool:
        nonlocal reason
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        reason = reason or done.stdout + done.stderr  # the first error is the one to fix
        return done.returncode == 0

    shutil.rmtree(env, ignore_errors=True)
    if works(sys.executable, "-m", "venv", env):
        return [str(python), "-m", "pip", "install", *PIP_OPTIONS]
    # On a Debian without python3-venv, the environment can still be made, without pip.
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
        "Elsewhere, install pip, uv or virtualenv."
    )


def python_of(env: Path) -> Path:
    """Return the Python of an environment."""
    return env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def digest_of(files: Iterable[Path]) -> str:
    """Return a text that changes with the files, the Python and the path of the checkout."""
    digest = hashlib.sha256(f"{sys.version} {sys.executable} {ROOT}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def set_up_tox(environ: dict[str, str]) -> Path:
    """Return the Python with tox; install tox if it is missing or does not match pyproject.toml."""
    python = python_of(TOX)
    digest = digest_of([Path(__file__), ROOT / "pyproject.toml"])
    stamp = TOX / "complete"  # written last, so that an interrupted installation starts again
    if not (stamp.exists() and stamp.read_text() == digest):
        print(f"Setting up {TOX}", file=sys.stderr, flush=True)
        needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["tox"]
        if subprocess.call([*create(TOX, python, environ), *needs], env=environ):
            sys.exit("Could not install tox; see above.")
        stamp.write_text(digest)
    return python


def set_up(name: str, tox: Path, environ: dict[str, str]) -> Path:
    """Return the Python of a tox environment; recreate it if any of its definitions has changed."""
    env = ROOT / ".tox" / name
    digest = digest_of(
        [Path(__file__), ROOT / "tox.ini", ROOT / "pyproject.toml", *sorted(ROOT.glob("amltk_*/**/pyproject.toml"))]
    )
    stamp = env / "complete"
    if not (stamp.exists() and stamp.read_text() == digest):
        print(f"Setting up {env} (this may take a minute)", file=sys.stderr, flush=True)
        command = [str(tox), "-m", "tox", "run", "-q", "--recreate", "--notest", "-e", name]
        if subprocess.call(command, env=environ, cwd=ROOT):
            sys.exit("Could not set up the environment; see above.")
        stamp.write_text(digest)
    return python_of(env)


def main() -> None:
    """Run the job that the command line names, with the remaining arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in {*JOBS, "tox"}:
        sys.exit(__doc__)
    name, *arguments = sys.argv[1:]
    environ = {key: value for key, value in os.environ.items() if key not in ASTRAY + SLOW}
    environ["PIP_USER"] = "0"  # overrides a configuration file
    python = set_up_tox(environ)
    command = ["-m", "tox"]
    if name in JOBS:  # run directly, not by tox: Ctrl-C, debuggers and the live display then have the terminal
        python, command = set_up(name, python, environ), JOBS[name]
    environ |= {"VIRTUAL_ENV": str(python.parent.parent), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    os.chdir(ROOT)
    os.execve(python, [str(python), *command, *arguments], environ)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
