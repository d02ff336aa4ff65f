"""The search of tune_digits.py on the nodes of a Slurm cluster: `python slurm_tune.py --queue short`.

The evaluation and Optuna's proposals are the same; only the backend differs. Its options tell Slurm the needs of each
worker. On another cluster, use `with_pbs`, `with_sge` or another backend of docs/batch-systems.md.
"""

from __future__ import annotations

import argparse
from asyncio import Future

import optuna
from optuna.trial import Trial, TrialState
from tune_digits import Result, evaluate, proposals

from amltk import PynisherPlugin, Retry, Scheduler


def make_scheduler(options: argparse.Namespace) -> Scheduler:
    """Return a scheduler whose workers are jobs of Slurm. It submits nothing before it runs."""
    return Scheduler.with_slurm(
        # The maximum number of jobs. With fewer calls there are fewer jobs.
        n_workers=options.workers,
        # The partition; None for the cluster's default.
        queue=options.queue,
        # The resources of each job, all for the one call that it runs. A call that uses more memory ends its worker.
        cores=1,
        memory="2 GB",
        # Slurm ends the job after this time: it must exceed the longest call; a shorter one starts sooner.
        walltime="00:30:00",
        # The account to charge; None if the cluster needs none.
        account=options.account,
        # Give idle jobs back. False keeps all of them until the end of the search.
        adaptive=True,
        # The submit command; more options go here, or into job_extra_directives.
        submit_command="sbatch",
        # Lines for the head of the job, and commands to run before its worker starts.
        job_extra_directives=["--no-requeue"],
        job_script_prologue=["export OMP_NUM_THREADS=1"],
    )


def search(study: optuna.Study, options: argparse.Namespace) -> None:
    """Keep all workers busy with the study's proposals, and report their outcomes to the study."""
    scheduler = make_scheduler(options)
    # Some configurations take minutes, or all memory: these limits end the call, not its job.
    limits = PynisherPlugin(walltime_limit=(30, "s"), memory_limit=(1, "GB"))
    # A job that is preempted or cancelled ends its call, through no fault of the call: try once more.
    task = scheduler.task(evaluate, plugins=[Retry(max_attempts=2), limits])
    trials = iter(proposals(study))
    under_way: dict[Future[Result], Trial] = {}

    @scheduler.on_start(repeat=options.workers)
    @task.on_result
    @task.on_exception
    def propose(*_: object) -> None:
        if len(study.trials) < options.trials:
            trial = next(trials)
            future = task(trial.params, 0)
            assert future is not None  # no plugin refuses calls here
            under_way[future] = trial

    @task.on_result
    def finished(future: Future[Result], result: Result) -> None:
        trial = under_way.pop(future)
        study.tell(trial, result[0])
        print(f"{result[0]:.3f} {trial.params}", flush=True)

    @task.on_exception
    def failed(future: Future[Result], error: Exception) -> None:
        study.tell(under_way.pop(future), state=TrialState.FAIL)
        print(f"failed: {error}", flush=True)

    scheduler.run(on_exception="ignore", display=options.display)


def main() -> None:
    """Parse the command line, and search."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--workers", type=int, default=4, help="maximum number of jobs (4)")
    parser.add_argument("--trials", type=int, default=40, help="number of configurations to try (40)")
    parser.add_argument("--queue", help="the partition")
    parser.add_argument("--account", help="the account to charge")
    parser.add_argument("--display", action="store_true", help="show the run live")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    search(study, options)
    print(f"best: {study.best_value:.3f} {study.best_params}")


if __name__ == "__main__":
    main()
