"""What is different from one batch system to the next."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from amltk.exceptions import BatchSystemError

COMMAND_SECONDS = 60.0
"""How long a command of a batch system may take: a controller that is busy answers late."""


class JobState(NamedTuple):
    """What a batch system says of a job that it has.

    Attributes:
        waiting: Whether it has not been started.
        words: In the batch system's own words, with the reason, where it gives one.
        stuck: Whether it will wait for ever, as it is: nothing there can run it.
    """

    waiting: bool
    words: str
    stuck: bool = False

    @property
    def ended(self) -> bool:
        """Whether it has ended for good, and the batch system only cleans up after it."""
        return False


class CleanedUp(JobState):
    """The state of a job that has ended for good, while the batch system cleans up after it."""

    @property
    def ended(self) -> bool:
        """True."""
        return True


class BatchSystem(ABC):
    """A batch system: how it is talked to, and what its words mean.

    Attributes:
        name: The backend's, as in `with_slurm`.
        title: What people call it.
        cluster: The class of dask-jobqueue that writes its job scripts.
        submit_command: Submits a script.
        cancel_command: Ends the jobs whose ids it is given.
        named_directives: Whether `job_extra_directives` is a mapping, from names to values, and no list of lines.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    cluster: ClassVar[str]
    submit_command: ClassVar[str]
    cancel_command: ClassVar[str]
    named_directives: ClassVar[bool] = False

    @abstractmethod
    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Return the states of those jobs that wait, run or are about to end; all others are gone.

        Raises:
            BatchSystemError: It can't be had now.
        """

    def ending(self, commands: Commands, job: str) -> str:  # noqa: ARG002 - for those that remember
        """Return what is remembered of how a job ended, as in "TIMEOUT"; "" if nothing is.

        Raises:
            BatchSystemError: It can't be had.
        """
        return ""

    def adjust(self, options: dict[str, Any], folder: Path) -> None:  # noqa: B027 - most need nothing
        """Change options of dask-jobqueue's cluster where this system needs it.

        Args:
            options: What the cluster will be made with; to be changed in place.
            folder: Where the jobs' output belongs.
        """


class Commands:
    """Runs a batch system's commands, from the place of its submit command."""

    def __init__(
        self, system: BatchSystem, submit_command: str | None = None, cancel_command: str | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            system: Whose commands they are.
            submit_command: Instead of the system's: with options, or with words in front that reach it, as `ssh login`.
            cancel_command: The same for ending jobs. By default it is found where the submit command is.
        """
        self.system = system
        self.submit = submit_command or system.submit_command
        words = shlex.split(self.submit)
        at = next((at for at, word in enumerate(words) if Path(word).name == system.submit_command), None)
        self._before = [] if at is None else words[:at]
        self._folder = "" if at is None else os.path.dirname(words[at])  # noqa: PTH120 - "" if there is none
        self.cancel = cancel_command or shlex.join(self._beside(system.cancel_command))

    def find(self) -> str:
        """Return the path of what submits.

        Raises:
            BatchSystemError: It is not there.
        """
        word = shlex.split(self.submit)[0]
        path = shutil.which(word)
        if path is None:
            where = f"it is not on PATH ({os.environ.get('PATH', '')})"
            if os.sep in word:
                where = "there is no such program"
            msg = (
                f"{self.system.title}'s submit command {word!r} was not found: {where}. Run this where jobs can be "
                "submitted, on a login node, or say where it is: submit_command='/path/to/...'."
            )
            raise BatchSystemError(msg, command=self.submit)
        return path

    def ask(self, name: str, *arguments: str) -> str:
        """Return the output of a command of the system's.

        Raises:
            BatchSystemError: It is not there, or fails.
        """
        return run([*self._beside(name), *arguments])

    def cancel_jobs(self, ids: Iterable[str]) -> None:
        """Have jobs ended; it does not wait for that.

        Raises:
            BatchSystemError: The command fails, as most do if one of the jobs has ended already.
        """
        run([*shlex.split(self.cancel), *ids])

    def _beside(self, name: str) -> list[str]:
        return [*self._before, os.path.join(self._folder, name)]  # noqa: PTH118 - not "./" if there is no folder


def run(words: Sequence[str], *, script: str | None = None) -> str:
    """Run a command, and return what it prints.

    Args:
        words: The command.
        script: What it reads.

    Raises:
        BatchSystemError: It can't be started, does not end, or says that it failed.
    """
    command = shlex.join(words)
    try:
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            input=script or "",
            timeout=COMMAND_SECONDS,
            env={**os.environ, "PWD": str(Path.cwd())},  # oarsub takes from it where the job starts
        )
    except OSError as error:
        msg = f"The command {command!r} can't be run: {error.strerror}."
        raise BatchSystemError(msg, command=command) from error
    except subprocess.TimeoutExpired as error:
        msg = f"The command {command!r} did not answer within {COMMAND_SECONDS:g} s."
        raise BatchSystemError(msg, command=command) from error
    if done.returncode:
        output = "\n".join(filter(None, (done.stderr.strip(), done.stdout.strip())))
        msg = f"The command {command!r} failed with exit code {done.returncode}: {output or 'it said nothing'}"
        raise BatchSystemError(msg, command=command, output=output)
    return done.stdout
