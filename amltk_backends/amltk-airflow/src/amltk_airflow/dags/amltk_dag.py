# Written by `amltk airflow install-dag`, which replaces it: changes are lost.
"""Runs one call of amltk for each run of this DAG, which amltk starts. Started by hand, it refuses to do anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator

if TYPE_CHECKING:
    from amltk_airflow.worker import Task


class Call(BaseOperator):  # type: ignore[misc] # Airflow is not there where types are checked
    """Makes the call that the run's conf refers to."""

    ui_color = "#d6e8fa"
    made: Task | None = None

    def execute(self, context: Any) -> None:
        """Make the call."""
        from amltk_airflow.worker import Task  # parsing this file has to be quick

        run = context["dag_run"]
        self.made = Task(run.conf or {}, run.run_id)
        self.made.run()

    def on_kill(self) -> None:
        """End the call, with all that it has started."""
        if self.made is not None:
            self.made.kill()


with DAG(
    "amltk",
    description="Calls of amltk: each run is one, started by a program that uses Scheduler.with_airflow()",
    schedule=None,
    catchup=False,
    # How many calls run at the same time is decided by max_workers= there, and by the slots here.
    max_active_runs=4096,
    max_active_tasks=4096,
    is_paused_upon_creation=False,
    tags=["amltk"],
):
    Call(task_id="call", retries=0, do_xcom_push=False)
