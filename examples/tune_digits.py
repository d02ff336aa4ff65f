"""Search for the best pipeline to read handwritten digits: a small AutoML system in one file.

    keep_busy: Optuna proposes ──> task(...) ──> a process evaluates, within limits of time and memory
        ^                            │ refused by CallLimiter: all workers are busy      │
        │                            v                                                   │
        │                          kept for later                                        │
        └── finished (enough? stop), or not_finished: the study is told  <── events ─────┘

`python3 dev.py digits` sets up everything and runs it; `--help` shows its options. Three configurations exceed the
limits and are always tried: a search must survive them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from asyncio import Future
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

# One thread for each worker, as more would compete for processors. numpy reads this on import.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import optuna
from optuna.trial import Trial, TrialState
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from amltk import CallLimiter, ExitState, PynisherPlugin, Requeue, Scheduler

WALL_TIME = (4, "s")
MEMORY = (1, "GB")
TOO_MUCH: list[dict[str, Any]] = [
    {"kind": "gaussian process", "length scale": 10.0},  # takes minutes
    {"kind": "polynomial", "degree": 4, "alpha": 1.0},  # 814,385 features
    {"kind": "forest", "trees": 3000, "depth": 20},  # takes half a minute
]

Result = tuple[float, float]


@dataclass
class Outcome:
    """The outcome of a trial."""

    configuration: dict[str, Any]
    end: str
    accuracy: float = 0.0
    seconds: float = 0.0


def suggest(trial: Trial) -> dict[str, Any]:
    """Have Optuna choose a configuration; its parameters depend on the kind of pipeline."""
    kind = trial.suggest_categorical("kind", ["svm", "neighbours", "forest", "polynomial", "gaussian process"])
    if kind == "svm":
        trial.suggest_float("C", 0.01, 100, log=True)
        trial.suggest_float("gamma", 1e-5, 0.1, log=True)
    elif kind == "neighbours":
        trial.suggest_int("components", 5, 60)
        trial.suggest_int("neighbours", 1, 30, log=True)
    elif kind == "forest":
        trial.suggest_int("trees", 10, 3000, log=True)
        trial.suggest_int("depth", 2, 20)
    elif kind == "polynomial":
        trial.suggest_int("degree", 1, 4)
        trial.suggest_float("alpha", 1e-3, 1e3, log=True)
    else:
        trial.suggest_float("length scale", 0.1, 100, log=True)
    return trial.params


def build(configuration: dict[str, Any], seed: int) -> Pipeline:
    """Make the pipeline of a configuration."""
    match configuration:
        case {"kind": "svm", "C": c, "gamma": gamma}:
            return make_pipeline(SVC(C=c, gamma=gamma))
        case {"kind": "neighbours", "components": components, "neighbours": neighbours}:
            return make_pipeline(PCA(components, random_state=seed), KNeighborsClassifier(neighbours))
        case {"kind": "forest", "trees": trees, "depth": depth}:
            return make_pipeline(ExtraTreesClassifier(trees, max_depth=depth, random_state=seed))
        case {"kind": "polynomial", "degree": degree, "alpha": alpha}:
            return make_pipeline(PolynomialFeatures(degree), StandardScaler(), RidgeClassifier(alpha))
        case {"kind": "gaussian process", "length scale": scale}:
            return make_pipeline(StandardScaler(), GaussianProcessClassifier(scale * RBF(), random_state=seed))
    msg = f"There is no pipeline for {configuration}."
    raise ValueError(msg)


def evaluate(configuration: dict[str, Any], seed: int) -> Result:
    """Return the cross-validated accuracy of a configuration, and the seconds that it took. Runs in a worker."""
    started = time.perf_counter()
    images, digits = load_digits(return_X_y=True)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    scores = cross_val_score(build(configuration, seed), images, digits, cv=folds, error_score="raise")
    return float(scores.mean()), time.perf_counter() - started


def proposals(study: optuna.Study) -> Iterator[Trial]:
    """Yield Optuna's next proposals, one for each request."""
    while True:
        trial = study.ask()
        suggest(trial)
        yield trial


def search(study: optuna.Study, outcomes: list[Outcome], options: argparse.Namespace) -> str:
    """Evaluate the study's proposals, and report their outcomes to it; return why the search ended."""
    scheduler = Scheduler.with_processes(max_workers=options.workers)
    limiter = CallLimiter(max_concurrent=options.workers)
    limits = PynisherPlugin(walltime_limit=WALL_TIME, memory_limit=MEMORY)
    task = scheduler.task(evaluate, plugins=[limiter, limits])

    trials = Requeue(islice(proposals(study), options.trials))
    under_way: dict[Future[Result], Trial] = {}

    @task.on_result
    def finished(future: Future[Result], result: Result) -> None:
        trial = under_way.pop(future)
        accuracy, seconds = result
        study.tell(trial, accuracy)
        outcomes.append(Outcome(trial.params, "finished", accuracy, seconds))

    @task.on_exception
    def not_finished(future: Future[Result], error: Exception) -> None:
        trial = under_way.pop(future)
        end = end_of(error)
        # Optuna avoids pruned configurations; it learns nothing from failed ones.
        study.tell(trial, state=TrialState.FAIL if end == "failed" else TrialState.PRUNED)
        outcomes.append(Outcome(trial.params, end))

    @task.on_cancelled
    def cancelled(future: Future[Result]) -> None:
        outcomes.append(Outcome(under_way.pop(future).params, "cancelled"))

    @task.on_result
    def stop_without_progress(*_: object) -> None:
        accuracies = [outcome.accuracy for outcome in outcomes if outcome.end == "finished"]
        if len(accuracies) - accuracies.index(max(accuracies)) > options.patience:
            scheduler.stop()

    def keep_busy(*_: object) -> None:
        for trial in trials:
            future = task(trial.params, options.seed)
            if future is None:  # refused by the limiter: all workers are busy
                trials.requeue(trial)
                return
            under_way[future] = trial

    # Registered last, so that the study knows the outcome of a trial before it proposes the next one.
    scheduler.on_start(keep_busy)
    task.on_result(keep_busy)
    task.on_exception(keep_busy)

    state = scheduler.run(timeout=options.seconds, on_exception="ignore", display=options.display)
    reasons = {
        ExitState.Code.EXHAUSTED: "all trials are done",
        ExitState.Code.STOPPED: f"no progress in {options.patience} trials",
        ExitState.Code.TIMEOUT: "the time is over",
    }
    return reasons[state.code]


def end_of(error: Exception) -> str:
    """Return a short reason why a trial has no result."""
    if isinstance(error, PynisherPlugin.TimeoutException):
        return "too slow"
    return "too big" if isinstance(error, PynisherPlugin.MemoryLimitException) else "failed"


def leaderboard(outcomes: list[Outcome], summary: str) -> Table:
    """Return a table of the ten best trials, and of how many trials ended in which way."""
    ends = Counter({"finished": 0, "too slow": 0, "too big": 0, "failed": 0})
    ends.update(outcome.end for outcome in outcomes)
    counts = ", ".join(f"{count} {end}" for end, count in ends.items())
    table = Table(title="Leaderboard", caption=f"{counts}\n{summary}")
    for heading in ("", "accuracy", "seconds"):
        table.add_column(heading, justify="right")
    for heading in ("pipeline", "parameters"):
        table.add_column(heading)
    finished = [outcome for outcome in outcomes if outcome.end == "finished"]
    best_first = sorted(finished, key=lambda outcome: outcome.accuracy, reverse=True)
    for rank, outcome in enumerate(best_first[:10], start=1):
        parameters = dict(outcome.configuration)
        kind = parameters.pop("kind")
        shown = ", ".join(f"{name} {value:.3g}" for name, value in parameters.items())
        table.add_row(str(rank), f"{outcome.accuracy:.4f}", f"{outcome.seconds:.2f}", kind, shown)
    return table


def main() -> int:
    """Search with the options of the command line, and show the outcomes, even after an interruption."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=60, help="maximum number of configurations (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="maximum duration of the search (%(default)s)")
    parser.add_argument("--patience", type=int, default=15, help="maximum trials without progress (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="number of processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the random seed (%(default)s)")
    parser.add_argument("--no-display", dest="display", action="store_false", help="do not show the run live")
    options = parser.parse_args()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=20, seed=options.seed)  # the first 20 at random
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for configuration in TOO_MUCH:
        study.enqueue_trial(configuration)
    outcomes: list[Outcome] = []
    ended = "interrupted"
    started = time.monotonic()
    try:
        ended = search(study, outcomes, options)
    except KeyboardInterrupt:
        return 130
    finally:
        Console().print(leaderboard(outcomes, f"{ended}, after {time.monotonic() - started:.0f} s"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
