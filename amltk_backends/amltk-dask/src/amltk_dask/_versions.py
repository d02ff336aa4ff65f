"""Whether a worker fits to this process: what is pickled here has to be understood there, and the other way round."""

from __future__ import annotations

from amltk.exceptions import NotSupportedError
from amltk.plugins.catalog import how_to_install
from amltk_dask._worker import Greeting, versions


def check_fit(address: str, answer: Greeting | BaseException) -> BaseException | None:
    """Return what is wrong with a worker; None if it fits.

    Args:
        address: Of the worker.
        answer: What it said when it was greeted, or raised.
    """
    if isinstance(answer, ModuleNotFoundError):
        return NotSupportedError(
            f"The worker {address} cannot import {answer.name}. {what_to_install()} "
            f"For dask's workers: {how_to_install('amltk-dask', elsewhere=True)}"
        )
    if isinstance(answer, BaseException):
        error = NotSupportedError(
            f"The worker {address} does not answer as it should: {type(answer).__name__}: {answer}. {what_to_install()}"
        )
        error.__cause__ = answer
        return error
    ours, theirs = versions(), answer.versions
    differs = [name for name in ours if theirs.get(name) != ours[name]]
    if not differs:
        return None
    table = "; ".join(f"{name}: here {ours[name]}, there {theirs.get(name, 'none')}" for name in differs)
    return NotSupportedError(
        f"The worker {address}, process {answer.pid} on {answer.host}, does not fit to this process. {table}. "
        "Install the same versions on both sides."
    )


def what_to_install() -> str:
    """Say what a worker needs."""
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"Install there what is installed here, in the same versions: {found}."
