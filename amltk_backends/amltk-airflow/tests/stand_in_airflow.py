"""Stands in for Airflow: the part of its REST API that is used, and tasks that do what those of the DAG do.

`python stand_in_airflow.py` prints its URL, and serves until its stdin ends. What a test wants of it is sent to
`/control`, as JSON; a GET of that tells what it was asked.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from amltk_airflow.worker import Task

USER, PASSWORD = "tester", "the password"
SLOTS = 8
KILLED_AFTER = 0.2
"""Seconds after which a task that was marked as failed gets its signal; Airflow takes longer."""


@dataclass
class Run:
    conf: dict[str, Any]
    state: str = "queued"
    task: Task | None = None
    log: str = ""


@dataclass
class State:
    """What there is, and how it is to behave.

    Attributes:
        runs: By their ids.
        asked: Each request, as method and path.
        tokens: Those that are valid.
        answers: Statuses for the next requests, which are not carried out.
        lost: Of so many triggers that are carried out, the answer is lost.
        held: Whether no task begins.
        silent: Whether tasks fail without a word from us.
        dag: What there is to say of the DAG; None if it is not there.
        import_errors: Likewise.
        scheduler: The health of the scheduler.
    """

    runs: dict[str, Run] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    answers: list[int] = field(default_factory=list)
    lost: int = 0
    held: bool = False
    silent: bool = False
    dag: dict[str, Any] | None = field(
        default_factory=lambda: {"dag_id": "amltk", "is_paused": False, "fileloc": "/d.py"}
    )
    import_errors: list[dict[str, str]] = field(default_factory=list)
    scheduler: str = "healthy"


state = State()
slots = ThreadPoolExecutor(SLOTS)


def work(run_id: str) -> None:
    run = state.runs[run_id]
    while state.held and run.state == "queued":
        time.sleep(0.01)
    if run.state != "queued":
        return
    run.state = "running"
    try:
        if not state.silent:
            run.task = Task(run.conf, run_id)
            run.task.run()
    except Exception:
        run.log = traceback.format_exc()
        run.state = "failed"
    else:
        if state.silent:
            run.log, run.state = "the end of the log", "failed"
        elif run.state == "running":
            run.state = "success"


def fail(run: Run) -> None:
    if run.state in {"queued", "running"}:
        run.state = "failed"
        if run.task is not None:
            timer = threading.Timer(KILLED_AFTER, run.task.kill)
            timer.daemon = True
            timer.start()


def control(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted.pop("forget", False):
        for run in state.runs.values():
            fail(run)
        state.__init__()
    if wanted.pop("lose", False):  # its task seems to be gone
        for run in state.runs.values():
            run.state = "failed"
    for name, value in wanted.items():
        setattr(state, name, set(value) if name == "tokens" else value)
    runs = {run_id: {"state": run.state, "conf": run.conf, "log": run.log} for run_id, run in state.runs.items()}
    return {"runs": runs, "asked": state.asked}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def say(self, status: int, said: Any) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer(None)

    def do_POST(self) -> None:
        self.answer(self.body())

    def do_PATCH(self) -> None:
        self.answer(self.body())

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: Any) -> None:
        path = self.path.partition("?")[0]
        if path == "/control":
            self.say(200, control(body or {}))
            return
        state.asked.append(f"{self.command} {path}")
        if state.answers:
            self.say(state.answers.pop(0), {"detail": "as the test wants it"})
            return
        if path == "/auth/token":
            if body != {"username": USER, "password": PASSWORD}:
                self.say(401, {"detail": "Invalid credentials"})
                return
            token = f"token-{len(state.asked)}"
            state.tokens.add(token)
            self.say(201, {"access_token": token})
            return
        authorized = self.headers.get("Authorization", "").removeprefix("Bearer ") in state.tokens
        if not authorized and path not in {"/api/v2/version", "/api/v2/monitor/health"}:
            self.say(403, {"detail": "Invalid JWT token"})
            return
        self.say_of(path.removeprefix("/api/v2/"), body)

    def say_of(self, path: str, body: Any) -> None:
        if path == "version":
            self.say(200, {"version": "3.3.2"})
        elif path == "monitor/health":
            self.say(200, {"scheduler": {"status": state.scheduler, "latest_scheduler_heartbeat": "then"}})
        elif path == "importErrors":
            self.say(200, {"import_errors": state.import_errors})
        elif path == "dags/amltk":
            self.say(200 if state.dag else 404, state.dag or {"detail": "DAG with dag_id: 'amltk' not found"})
        elif path == "dags/amltk/dagRuns":
            self.trigger(body)
        elif path == "dags/~/dagRuns/list":
            found = [
                {"dag_run_id": run_id, "state": run.state}
                for run_id, run in list(state.runs.items())
                if run.state in body["states"]
            ]
            self.say(200, {"dag_runs": found[body["page_offset"] :][: body["page_limit"]], "total_entries": len(found)})
        else:
            self.say_of_run(path, body)

    def trigger(self, body: Any) -> None:
        run_id = body["dag_run_id"]
        if run_id in state.runs:
            self.say(409, {"detail": {"reason": "Unique constraint violation"}})
            return
        state.runs[run_id] = Run(body["conf"])
        slots.submit(work, run_id)
        if state.lost:
            state.lost -= 1
            self.close_connection = True
            return
        self.say(200, {"dag_run_id": run_id, "state": "queued"})

    def say_of_run(self, path: str, body: Any) -> None:
        found = re.fullmatch(r"dags/amltk/dagRuns/([^/]+)(/taskInstances/call(/logs/1)?)?", path)
        run = state.runs.get(found[1]) if found else None
        if found is None or run is None:
            self.say(404, {"detail": "not found"})
        elif found[3]:
            self.say(200, {"content": [{"event": line} for line in run.log.splitlines()]})
        elif found[2]:
            self.say(200, {"state": run.state, "try_number": 1, "hostname": "the-host", "pid": 4711})
        else:
            if self.command == "PATCH":
                fail(run)
            self.say(200, {"dag_run_id": found[1], "state": run.state})


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - whoever starts it reads it
    sys.stdin.read()
    for each in state.runs.values():
        fail(each)
    slots.shutdown(cancel_futures=True)
