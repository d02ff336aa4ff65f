"""The search of tune_digits.py on the nodes of a cluster with Slurm: `python slurm_tune.py --queue short`.

What is evaluated, and what Optuna proposes, is the same. Where it runs is one word; the options tell Slurm what each
worker needs. On another cluster, `with_slurm` is `with_pbs`, `with_sge` or another of docs/batch-systems.md.
"""

from __future__ import annotations

import argparse
from asyncio import Future

import optuna
from optuna.trial import Trial, TrialState
from tune_digits import Result, evaluate, proposals

from amltk import PynisherPlugin, Retry, Scheduler


def make_scheduler(options: argparse.Namespace) -> Scheduler:
    """Return a scheduler whose workers are jobs of Slurm. Nothing is submitted before it runs."""
    return Scheduler.with_slurm(
        # At most so many jobs at a time. With fewer calls than that there are fewer jobs.
        n_workers=options.workers,
        # The partition; None leaves it to the cluster.
        queue=options.queue,
        # Of each job, all for the one call that it runs. A call that uses more memory ends its worker.
        cores=1,
        memory="2 GB",
        # After that, Slurm ends the job: longer than a call may take, and short enough to get a place soon.
        walltime="00:30:00",
        # What is charged; None where the cluster does not ask.
        account=options.account,
        # Give jobs back that have nothing to do. False keeps all of them until the search is over.
        adaptive=True,
        # How jobs are submitted: further options go here, or into job_extra_directives.
        submit_command="sbatch",
        # Further lines for the head of the job; and what it does before its worker starts.
        job_extra_directives=["--no-requeue"],
        job_script_prologue=["export OMP_NUM_THREADS=1"],
    )


def search(study: optuna.Study, options: argparse.Namespace) -> None:
    """Keep all workers busy with what the study proposes, and tell it what comes of that."""
    scheduler = make_scheduler(options)
    # Some configurations take minutes, or all memory: these end their call, not its job.
    limits = PynisherPlugin(walltime_limit=(30, "s"), memory_limit=(1, "GB"))
    # A job that is preempted or cancelled takes its call with it. That was not the call's fault: try once more.
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
            assert future is not None  # nothing refuses calls here
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
    """Read the command line, and search."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--workers", type=int, default=4, help="how many jobs at most (4)")
    parser.add_argument("--trials", type=int, default=40, help="how many configurations are tried (40)")
    parser.add_argument("--queue", help="the partition")
    parser.add_argument("--account", help="what is charged")
    parser.add_argument("--display", action="store_true", help="show the run live")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    search(study, options)
    print(f"best: {study.best_value:.3f} {study.best_params}")


if __name__ == "__main__":
    main()
