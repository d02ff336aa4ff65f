"""The interface to a batch system: its commands, and what they report."""

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
"""Time limit of a batch system's command, in seconds: a busy controller answers late."""


class JobState(NamedTuple):
    """The state of a job, as the batch system reports it.

    Attributes:
        waiting: Whether it has not started.
        words: The batch system's own description, with a reason if it gives one.
        stuck: Whether it will wait forever, because nothing can run it as it is.
    """

    waiting: bool
    words: str
    stuck: bool = False

    @property
    def ended(self) -> bool:
        """Whether the job has ended, and the batch system only cleans up."""
        return False


class CleanedUp(JobState):
    """The state of a job that has ended, while the batch system cleans up."""

    @property
    def ended(self) -> bool:
        """True."""
        return True


class BatchSystem(ABC):
    """A batch system: its commands, and how to read their output.

    Attributes:
        name: The name of the backend, as in `with_slurm`.
        title: The name to show to people.
        cluster: The class of dask-jobqueue that writes its job scripts.
        submit_command: The command that submits a script.
        cancel_command: The command that ends jobs by their ids.
        named_directives: Whether `job_extra_directives` maps names to values, instead of being a list of lines.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    cluster: ClassVar[str]
    submit_command: ClassVar[str]
    cancel_command: ClassVar[str]
    named_directives: ClassVar[bool] = False

    @abstractmethod
    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Return the states of the jobs that wait, run or are about to end; all others are gone.

        Raises:
            BatchSystemError: The batch system can't be asked now.
        """

    def ending(self, commands: Commands, job: str) -> str:  # noqa: ARG002 - for systems that remember
        """Return how a job ended, such as "TIMEOUT"; "" if the batch system does not remember it.

        Raises:
            BatchSystemError: The batch system can't be asked.
        """
        return ""

    def adjust(self, options: dict[str, Any], folder: Path) -> None:  # noqa: B027 - most need nothing
        """Change the options of dask-jobqueue's cluster as this system requires.

        Args:
            options: The options of the cluster; changed in place.
            folder: The folder for the jobs' output.
        """


class Commands:
    """Runs a batch system's commands, from the folder of its submit command."""

    def __init__(
        self, system: BatchSystem, submit_command: str | None = None, cancel_command: str | None = None
    ) -> None:
        """Derive the commands. It starts nothing.

        Args:
            system: The batch system.
            submit_command: Replaces the system's: with options, or a prefix that reaches it, such as `ssh login`.
            cancel_command: Replaces the system's; by default that in the folder of the submit command.
        """
        self.system = system
        self.submit = submit_command or system.submit_command
        words = shlex.split(self.submit)
        at = next((at for at, word in enumerate(words) if Path(word).name == system.submit_command), None)
        self._before = [] if at is None else words[:at]
        self._folder = "" if at is None else os.path.dirname(words[at])  # noqa: PTH120 - "" if there is none
        self.cancel = cancel_command or shlex.join(self._beside(system.cancel_command))

    def find(self) -> str:
        """Return the path of the submit command.

        Raises:
            BatchSystemError: There is no such program.
        """
        word = shlex.split(self.submit)[0]
        path = shutil.which(word)
        if path is None:
            where = f"it is not on PATH ({os.environ.get('PATH', '')})"
            if os.sep in word:
                where = "there is no such program"
            msg = (
                f"{self.system.title}'s submit command {word!r} was not found: {where}. Run this where jobs can be "
                "submitted, on a login node, or give its path: submit_command='/path/to/...'."
            )
            raise BatchSystemError(msg, command=self.submit)
        return path

    def ask(self, name: str, *arguments: str) -> str:
        """Run a command of the system, and return its output.

        Raises:
            BatchSystemError: There is no such command, or it fails.
        """
        return run([*self._beside(name), *arguments])

    def cancel_jobs(self, ids: Iterable[str]) -> None:
        """Cancel jobs, without waiting for their end.

        Raises:
            BatchSystemError: The command fails. Most fail if one of the jobs has ended already.
        """
        run([*shlex.split(self.cancel), *ids])

    def _beside(self, name: str) -> list[str]:
        return [*self._before, os.path.join(self._folder, name)]  # noqa: PTH118 - not "./" if there is no folder


def run(words: Sequence[str], *, script: str | None = None) -> str:
    """Run a command, and return its output.

    Args:
        words: The command and its arguments.
        script: The text of its stdin.

    Raises:
        BatchSystemError: It can't be started, does not end in time, or fails.
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
            env={**os.environ, "PWD": str(Path.cwd())},  # oarsub starts the job there
        )
    except OSError as error:
        msg = f"The command {command!r} can't be run: {error.strerror}."
        raise BatchSystemError(msg, command=command) from error
    except subprocess.TimeoutExpired as error:
        msg = f"The command {command!r} did not answer within {COMMAND_SECONDS:g} s."
        raise BatchSystemError(msg, command=command) from error
    if done.returncode:
        output = "\n".join(filter(None, (done.stderr.strip(), done.stdout.strip())))
        msg = f"The command {command!r} failed with exit code {done.returncode}: {output or 'no output'}"
        raise BatchSystemError(msg, command=command, output=output)
    return done.stdout
