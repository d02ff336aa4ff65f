"""A stand-in for the commands of batch systems: it really runs the scripts that it is given, on this machine.

    python standin_batch_system.py COMMAND FOLDER ARGUMENTS...

FOLDER holds what tests decide: `refuse`, the words with which jobs are refused, `hold`, the reason for which they wait,
and `epilog`, while which Slurm cleans up after jobs that ended; and a folder for each job, named by its id.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path


def submit(home: Path, script: str) -> str:
    """Take a job, and run it, unless it has to wait."""
    if (home / "refuse").exists():
        sys.stderr.write((home / "refuse").read_text())
        sys.exit(1)
    while True:
        number = len([path for path in home.iterdir() if path.name.isdigit()]) + 1
        job = home / str(number)
        with contextlib.suppress(FileExistsError):  # somebody else submits just now
            job.mkdir()
            break
    (job / "script").write_text(script)
    if (home / "hold").exists():
        (job / "held").write_text((home / "hold").read_text())
    else:
        found = re.search(r"^(?:#\w+ -o |Output = )(\S+)$", script, re.MULTILINE)
        output = found[1].replace("%J", str(number)) if found else str(job / "output")
        folder = re.search(r"^LogDirectory = (\S+)$", script, re.MULTILINE)
        output = output.replace("$(LogDirectory)", folder[1] if folder else "")
        output = output.replace("$F(MY.JobId)", f"{number}.0")
        output = f"{output}job.o{number}" if output.endswith("/") else output
        run = f'sh "{job}/run"; echo $? > "{job}/exit"'
        (job / "run").write_text(_shell_of(script))
        with Path(output).open("wb") as log:
            runner = subprocess.Popen(
                ["/bin/sh", "-c", run], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd="/", env={**os.environ, "PBS_JOBID": str(number)},
            )  # fmt: skip
        (job / "pid").write_text(str(runner.pid))
    return str(number)


def _shell_of(script: str) -> str:
    found = re.search(r'^Arguments = "-c \'(.*)\'"$', script, re.MULTILINE)  # HTCondor's has its own syntax
    return found[1].replace("''", "'").replace('""', '"') if found else script


def state(home: Path, number: str) -> tuple[str, str]:
    """Return waiting, running, cancelled, timeout, preempted, ended or unknown; and the reason or the exit code."""
    job = home / number
    if not job.is_dir():
        return "unknown", ""
    ended = next((how for how in ("cancelled", "timeout", "preempted") if (job / how).exists()), "ended")
    if (job / "exit").exists():
        code = (job / "exit").read_text().strip()
        return ended, code if ended == "ended" else ""
    if (job / "held").exists():
        return ("waiting", (job / "held").read_text()) if ended == "ended" else (ended, "")
    try:
        os.kill(int((job / "pid").read_text()), 0)
    except ProcessLookupError:
        return ended, ""
    except (FileNotFoundError, ValueError):  # it is being started
        pass
    return "running", ""


def cancel(home: Path, number: str, how: str = "cancelled") -> None:
    """End a job as batch systems do."""
    if state(home, number)[0] not in {"waiting", "running"}:
        return
    (home / number / how).touch()
    if (home / number / "held").exists():
        return
    group = int((home / number / "pid").read_text())
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, sent)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)


def numbers(arguments: list[str]) -> list[str]:
    found = []
    for word in arguments:
        found += re.findall(r"(?<![\w.])(\d+)(?:\.0)?(?![\w])", word)
    return found


def main(command: str, folder: str, *words: str) -> None:  # noqa: C901, PLR0912, PLR0915 - a command after the other
    """Do as `command` does."""
    home, arguments = Path(folder), list(words)
    with (home / "commands").open("a") as told:
        told.write(" ".join([command, *arguments]) + "\n")
    ids = numbers(arguments)
    states = {job: state(home, job) for job in ids}
    out: list[str] = []
    match command:
        case "sbatch":
            out = [f"Submitted batch job {submit(home, Path(arguments[-1]).read_text())}"]
        case "bsub":
            text = Path(arguments[-1]).read_text() if arguments and Path(arguments[-1]).exists() else sys.stdin.read()
            out = [f"Job <{submit(home, text)}> is submitted to default queue <normal>."]
        case "msub":
            out = ["", submit(home, Path(arguments[-1]).read_text())]
        case "condor_submit":
            job = submit(home, Path(arguments[-1]).read_text())
            out = ["Submitting job(s).", f"1 job(s) submitted to cluster {job}."]
        case "scancel" | "bkill" | "canceljob" | "condor_rm":
            for job in ids:
                cancel(home, job)
        case "squeue":
            names = {"waiting": "PENDING", "running": "RUNNING"}
            if (home / "epilog").exists():
                names |= dict.fromkeys(("cancelled", "timeout", "preempted", "ended"), "COMPLETING")
            known = {job: each for job, each in states.items() if each[0] in names}
            if not known:
                sys.exit("slurm_load_jobs error: Invalid job id specified")
            out = [f"{job}:{names[what]}:{why or 'None'}:0:03" for job, (what, why) in known.items()]
        case "scontrol":
            ((job, (what, why)),) = states.items()
            names = {"running": "RUNNING", "waiting": "PENDING"}
            names |= {how: how.upper() for how in ("cancelled", "timeout", "preempted")}
            name = names.get(what) or ("COMPLETED" if why == "0" else "FAILED")
            if (home / "epilog").exists() and what not in {"running", "waiting"}:
                name, why = "COMPLETING", "0:15"
            out = [
                f"JobId={job} JobName=dask-worker",
                f"   JobState={name} Reason=None",
                f"   ExitCode={why if ':' in why else f'{why or 0}:0'}",
            ]
        case "bjobs":
            names = {"waiting": "PEND", "running": "RUN", "unknown": ""}
            for job, (what, why) in states.items():
                name = names.get(what, "DONE" if (what, why) == ("ended", "0") else "EXIT")
                reasons = {"cancelled": "TERM_OWNER: job killed by owner", "timeout": "TERM_RUNLIMIT"}
                if name:
                    out.append(f"{job}^{name}^{reasons.get(what) or (why if what == 'waiting' else '') or '-'}")
                else:
                    sys.stderr.write(f"Job <{job}> is not found\n")
        case "checkjob":
            ((job, (what, why)),) = states.items()
            names = {"waiting": "Idle", "running": "Running", "cancelled": "Removed", "timeout": "Removed"}
            if what == "unknown":
                sys.exit(f"ERROR:  invalid job specified: {job}")
            out = [f"job {job}", "", f"State: {names.get(what, 'Completed')}"]
            out += [f"Block Reason: {why}"] if why else []
        case "condor_q":
            names = {"waiting": "5", "running": "2"}
            out = [f"{j}.0 {names[what]} {why or 'undefined'}" for j, (what, why) in states.items() if what in names]
        case "condor_history":
            job = ids[0]
            what, why = states[job]
            out = [f"4 {why} undefined undefined"]
            if what == "cancelled":
                out = ["3 undefined undefined via condor_rm (by user root)"]
        case _:
            sys.exit(f"there is no stand-in for {command}")
    sys.stdout.write("".join(f"{line}\n" for line in out))


if __name__ == "__main__":
    main(*sys.argv[1:])
