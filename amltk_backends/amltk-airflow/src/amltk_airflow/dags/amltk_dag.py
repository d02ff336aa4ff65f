# Written by `amltk airflow install-dag`, which replaces it: changes are lost.
"""Runs one call of amltk for each run of this DAG. amltk starts the runs; one that is started by hand fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator

if TYPE_CHECKING:
    from amltk_airflow.worker import Task


class Call(BaseOperator):  # type: ignore[misc] # Airflow is not installed where types are checked
    """Runs the call that the run's conf refers to."""

    ui_color = "#d6e8fa"
    made: Task | None = None

    def execute(self, context: Any) -> None:
        """Run the call."""
        from amltk_airflow.worker import Task  # parsing this file must be quick

        run = context["dag_run"]
        self.made = Task(run.conf or {}, run.run_id)
        self.made.run()

    def on_kill(self) -> None:
        """End the call and every process that it has started."""
        if self.made is not None:
            self.made.kill()


with DAG(
    "amltk",
    description="Calls of amltk: each run is one, started by a program that uses Scheduler.with_airflow()",
    schedule=None,
    catchup=False,
    # max_workers= of the program and Airflow's slots limit how many calls run at the same time.
    max_active_runs=4096,
    max_active_tasks=4096,
    is_paused_upon_creation=False,
    tags=["amltk"],
):
    Call(task_id="call", retries=0, do_xcom_push=False)
