"""Compares a worker's versions with those of this process: each side must be able to unpickle the other's data."""

from __future__ import annotations

from amltk.exceptions import NotSupportedError
from amltk.plugins.catalog import how_to_install
from amltk_dask._worker import Greeting, versions


def check_fit(address: str, answer: Greeting | BaseException) -> BaseException | None:
    """Return the error of a worker that can't be used; None if it can.

    Args:
        address: The worker's address.
        answer: Its answer to the handshake, or the error.
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
    ours, worker = versions(), answer.versions
    differs = [name for name in ours if worker.get(name) != ours[name]]
    if not differs:
        return None
    table = "; ".join(f"{name}: here {ours[name]}, there {worker.get(name, 'none')}" for name in differs)
    return NotSupportedError(
        f"The worker {address}, process {answer.pid} on {answer.host}, does not match this process. {table}. "
        "Install the same versions on both sides."
    )


def what_to_install() -> str:
    """Return a sentence on the libraries that a worker needs."""
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"Install the same versions there as here: {found}."
