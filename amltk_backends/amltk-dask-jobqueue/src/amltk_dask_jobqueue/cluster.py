"""Makes clusters of dask-jobqueue, without jobs, and job scripts."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import os
import shlex
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from amltk.checks import did_you_mean
from amltk.describe import describe_value
from amltk.preparation import child_path
from amltk_dask.tls import check_security, in_files, security_from, write_certificate
from amltk_dask_jobqueue.addresses import check_interface
from amltk_dask_jobqueue.option_checks import check_lists, check_one_line, check_texts, check_values, without_secrets_of
from amltk_dask_jobqueue.system import BatchSystem, Commands, run

_OURS = "amltk_dask_jobqueue.worker"
_NOT_FOR_USERS = {"self", "args", "scheduler", "name", "job_cls", "asynchronous", "loop", "n_workers"}
_OF_OURS = {"worker_interface"}
_QUIET_SCHEDULER = {"dashboard_address": "127.0.0.1:0", "dashboard": False}
# Workers import from a folder that dask makes in the temporary folder. Other users of the node can guess its name and
# make it first, so it is made in a folder of the job's own. HTCondor reads `$(...)` as a macro, hence the backquotes.
_OWN_FOLDER = (
    'DASK_TEMPORARY_DIRECTORY=`mktemp -d "${DASK_TEMPORARY_DIRECTORY:-${TMPDIR:-/tmp}}/amltk-XXXXXXXX"` && '
    "export DASK_TEMPORARY_DIRECTORY && trap 'rm -rf \"$DASK_TEMPORARY_DIRECTORY\"' EXIT"
)
_PATIENT_SCHEDULER = {"worker_ttl": "365 days"}  # compiled code may hold the lock for long; see heartbeat_timeout


def open_cluster(
    system: BatchSystem, commands: Commands, options: Mapping[str, Any], folder: Path, private: Path, scratch: str
) -> Any:
    """Return a cluster of dask-jobqueue with a running scheduler in this process. It submits no job.

    Args:
        system: The batch system.
        commands: Its commands.
        options: The options of dask-jobqueue's cluster.
        folder: The folder for the output of jobs.
        private: The folder for the key, which only the user can read.
        scratch: A folder on this machine for the scheduler's files.
    """
    import dask

    from amltk_dask.cluster_config import NO_PAGES

    security = options.get("security")
    if security is None or security is True:
        write_certificate(_certificate(private))
    elif security:
        options = {**options, "security": in_files(security, private)}
    kind, options = _prepared(system, commands, options, folder, private)
    scheduler = options["scheduler_options"]
    scheduler.setdefault("local_directory", scratch)
    if not any(scheduler.get(name) for name in ("host", "interface", "contact_address")):
        scheduler["host"] = _our_address()
    with dask.config.set(NO_PAGES if scheduler.get("dashboard") is False else {}):
        return kind(**options)


def _our_address() -> str | None:
    """Return the address that dask gives to jobs, if the scheduler can listen there; else None, for all addresses."""
    from distributed.utils import get_ip

    address = str(get_ip())
    try:
        with socket.create_server((address, 0)):
            return address
    except OSError:  # for example the address of a gateway
        return None


def _certificate(private: Path) -> Path:
    return private / "tls.pem"


def job_script(system: BatchSystem, commands: Commands, options: Mapping[str, Any], folder: Path) -> str:
    """Return the script of a job to show, without values that may be secret. It starts nothing.

    See `open_cluster` for the arguments.

    Raises:
        TypeError: There is no such option.
        ValueError: dask-jobqueue can't use a value, or needs more.
    """
    kind, options = _prepared(system, commands, options, folder, folder, show=without_secrets_of)
    new = not folder.exists()
    try:
        script: str = _job(kind, options).job_script()
    finally:
        if new and folder.is_dir():  # made by dask-jobqueue
            folder.rmdir()
    return script


def import_dask_jobqueue() -> Any:
    """Import dask_jobqueue, but don't let it set its handler for Ctrl-C, which only works in the main thread."""
    with mock.patch("signal.signal"):
        return importlib.import_module("dask_jobqueue")


def check_options(system: BatchSystem, options: Mapping[str, Any]) -> None:
    """Check that dask-jobqueue has these options and accepts their values.

    Raises:
        TypeError: There is no such option.
        ValueError: dask-jobqueue can't use a value, or needs more.
    """
    check_values(options)
    job_script(system, Commands(system), options, Path())


def _prepared(
    system: BatchSystem,
    commands: Commands,
    options: Mapping[str, Any],
    folder: Path,
    private: Path,
    *,
    show: Callable[[str, Any], Any] | None = None,
) -> tuple[type[Any], dict[str, Any]]:
    import dask

    dask_jobqueue = import_dask_jobqueue()
    base = getattr(dask_jobqueue, system.cluster)
    section = options.get("config_name") or base.job_cls.config_name

    def setting(name: str) -> Any:
        """Return the user's value of an option, from here or from dask's configuration."""
        value = value_of(name)
        return value if show is None else show(name, value)

    def value_of(name: str) -> Any:
        value = options.get(name)
        return dask.config.get(f"jobqueue.{section}.{name.replace('_', '-')}", None) if value is None else value

    if not isinstance(dask.config.get(f"jobqueue.{section}", None), Mapping):
        msg = f"config_name={describe_value(section)} is no section of 'jobqueue' in dask's configuration."
        raise ValueError(msg)  # noqa: TRY004 - the name is wrong
    texts = {name: value_of(name) for name in _check_names(system, base, options)}
    if texts["job_name"] is None:
        texts["job_name"] = value_of("name")  # its name in dask's configuration
    check_lists(texts, named_directives=system.named_directives)
    check_texts(texts)
    chosen = setting("local_directory") or dask.config.get("temporary-directory", None)
    lines = setting("job_script_prologue") or setting("env_extra") or []  # dask-jobqueue's old name for it
    folder_of_workers = [] if chosen else [_OWN_FOLDER]
    mine: dict[str, Any] = {
        "log_directory": str(folder),
        "processes": setting("processes") or 1,  # dask-jobqueue's default is one for each core, up to four
        # Errors report the faults of workers and calls.
        "silence_logs": options.get("silence_logs", logging.CRITICAL),
        # No dashboard by default: two runs can't use the same port.
        "scheduler_options": _scheduler(setting("scheduler_options") or {}, setting("interface")),
        # dask-jobqueue has one interface for both sides, where names differ; "" overrides its configuration.
        "interface": setting("worker_interface") or "",
        **_security(options, private),
        "job_script_prologue": [*_as_here(), *folder_of_workers, *lines],
        # The last of two counts: a worker runs one call at a time, whatever the number of its cores.
        "worker_extra_args": [
            *("--nthreads", "1", "--preload-nanny", _OURS, "--preload", _OURS),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),  # everybody who reaches its pages can read them
            *(setting("worker_extra_args") or []),
        ],
    }
    if setting("cores") is None or setting("memory") is None:
        msg = (
            f"with_{system.name} needs cores and memory of each worker, as in cores=4, memory='6 GB'; or set "
            f"jobqueue.{section}.cores and .memory in dask's configuration."
        )
        raise ValueError(msg)
    for name in (
        "job_extra_directives",
        "job_directives_skip",
        "memory_per_core_property_name",
    ):  # a system may add to these
        if value := setting(name):
            mine[name] = value
    shown = options if show is None else {name: show(name, value) for name, value in options.items()}
    merged = {**shown, **mine}
    merged.pop("worker_interface", None)
    system.adjust(merged, folder)
    kind = type(base.__name__, (base,), {"job_cls": _job_class(base.job_cls, commands)})
    return kind, merged


def _security(options: Mapping[str, Any], private: Path) -> dict[str, Any]:
    """Return dask-jobqueue's options for encryption."""
    security, protocol = options.get("security"), options.get("protocol")
    check_security(security, protocol)
    if security is None or security is True:
        security = security_from(_certificate(private))
    if security and security.require_encryption:
        protocol = protocol or "tls://"
    return {"security": security or None, "protocol": protocol}


def _scheduler(wanted: Mapping[str, Any], interface: str | None) -> dict[str, Any]:
    if not wanted.get("host"):
        wanted = {"interface": interface, **wanted}
    if wanted.get("interface"):
        check_interface(wanted["interface"], "interface")
    quiet = {} if "dashboard_address" in wanted else _QUIET_SCHEDULER
    return {**_PATIENT_SCHEDULER, **quiet, **wanted}


def _as_here() -> list[str]:
    """Return commands that give a job this working directory and module path: PBS starts jobs at home."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    base = sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})
    ours = [
        str(Path(folder).absolute())
        for folder in child_path()
        if not any(folder == each or folder.startswith(f"{each}{os.sep}") for each in (*installed, base))
        and not folder.endswith(".zip")
    ]
    here, path = str(Path.cwd()), os.pathsep.join(dict.fromkeys(ours))
    # Grid Engine and LSF look for directives in all lines, even in quoted text.
    check_one_line("The name of the current directory", here)
    check_one_line("sys.path", path)
    return [f"cd {shlex.quote(here)}", f"export PYTHONPATH={shlex.quote(path)}${{PYTHONPATH:+:$PYTHONPATH}}"]


def _check_names(system: BatchSystem, base: type[Any], options: Mapping[str, Any]) -> set[str]:
    """Check that options are known; return the names of all known ones."""
    known: set[str] = set()
    for kind in (*base.job_cls.__mro__, *base.__mro__[:2]):
        known |= inspect.signature(vars(kind).get("__init__", object.__init__)).parameters.keys()
    known = {name for name in known if not name.endswith("kwargs")} - _NOT_FOR_USERS | _OF_OURS
    for name in options:
        if name not in known:
            msg = (
                f"with_{system.name} has no option {name!r}, nor has dask-jobqueue's {base.__name__}."
                f"{did_you_mean(name, known)} Options that are passed on to it: {', '.join(sorted(known))}."
            )
            raise TypeError(msg)
    return known


def _job_class(base: type[Any], commands: Commands) -> type[Any]:
    """Return a job class with these commands. Setting them on dask-jobqueue's class would change all clusters."""

    class Job(base):  # type: ignore[misc] # a class of dask-jobqueue
        """A job that runs its commands with `system.run`."""

        def __init__(self, *args: Any, security: Any = None, **kwargs: Any) -> None:
            if security:  # dask-jobqueue does not quote file names
                kwargs["worker_extra_args"] = [*kwargs["worker_extra_args"], *_files_of(security)]
            super().__init__(*args, **kwargs)
            # Some classes add options to the command.
            self.submit_command: str = str(vars(self).get("submit_command", base.submit_command)).replace(
                base.submit_command, commands.submit, 1
            )

        @contextlib.contextmanager
        def job_file(self) -> Iterator[str]:
            """Write the script to a new file that only the user can access; others could replace dask-jobqueue's."""
            with tempfile.NamedTemporaryFile("w", prefix="amltk-", suffix=".sh") as file:
                file.write(self.job_script())
                file.flush()
                yield file.name

        async def _submit_job(self, script_filename: str) -> str:
            self.script = Path(script_filename).name
            if getattr(self, "use_stdin", False):  # LSF: dask-jobqueue's shell would hide the reason of a refusal
                return run(shlex.split(self.submit_command), script=self.job_script())
            return str(await super()._submit_job(script_filename))

        @staticmethod
        async def _call(cmd: list[str], **_more: Any) -> str:
            """Run a command in this thread, with readable errors."""
            return run(cmd)

    return Job


def _files_of(security: Any) -> Iterator[str]:
    """Yield the arguments with a worker's certificate: file names, never contents."""
    for name in ("ca_file", "cert", "key"):
        file = security.get_tls_config_for_role("worker")[name]
        if file:
            yield f"--tls-{name.replace('_', '-')}"
            yield "FILE" if "\n" in file else shlex.quote(file)


def _job(kind: type[Any], options: Mapping[str, Any]) -> Any:
    """Return a job as a cluster would make it."""
    of_cluster = set(inspect.signature(import_dask_jobqueue().JobQueueCluster.__init__).parameters)
    of_cluster -= {"config_name", "interface", "protocol", "security"}
    own = {name: value for name, value in options.items() if name not in of_cluster}
    return kind.job_cls("tcp://ADDRESS-OF-THE-SCHEDULER:PORT", name="NAME", **own)
