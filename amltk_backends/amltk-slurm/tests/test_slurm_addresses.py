"""What a run says of the network to its jobs, with stand-ins for Slurm's commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from calls_for_slurm import where

from amltk import Scheduler
from amltk.exceptions import BatchSystemError

pytestmark = pytest.mark.thorough

HEARD = {"n_workers": 1, "cores": 1, "memory": "500 MB", "silence_logs": False}
LOOPBACK = {"host": "127.0.0.1"}


def test_a_run_warns_of_an_address_that_no_other_machine_reaches(standin, nothing_is_left, caplog):
    scheduler = Scheduler.with_slurm(scheduler_options=LOOPBACK, **HEARD)
    scheduler.on_start(lambda: scheduler.submit(where))
    scheduler.run()
    [told] = [each.getMessage() for each in caplog.records if "cannot reach" in each.getMessage()]
    assert told.startswith("Slurm: jobs on other machines cannot reach tls://127.0.0.1:")
    assert "choose with interface=" in told


def test_an_interface_that_the_nodes_lack_is_told_after_the_first_job(standin, nothing_is_left):
    scheduler = Scheduler.with_slurm(worker_interface="nowhere0", **HEARD)
    scheduler.on_start(lambda: scheduler.submit(where))
    said = r"job 1 ended as .* Its node has no network interface 'nowhere0' \(worker_interface=\): it has .*lo"
    with pytest.raises(BatchSystemError, match=said):
        scheduler.run()
    assert standin.submitted == ["1"]


def test_the_doctor_shows_the_address_of_the_workers(standin):
    options = [f"scheduler_options={json.dumps(LOOPBACK)}", "n_workers=1", "cores=1", "memory=500 MB"]
    command = [
        sys.executable,
        "-m",
        "amltk",
        "doctor",
        "slurm",
        "--json",
        *(word for each in options for word in ("-o", each)),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)
    [diagnosis] = json.loads(done.stdout)
    found = {check["name"]: check for check in diagnosis["checks"]}
    assert "workers on other machines cannot connect to tls://127.0.0.1:" in found["address"]["detail"]
