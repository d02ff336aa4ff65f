"""A fork whose warning would be an error."""

from __future__ import annotations

import os
import warnings

from amltk.forks import fork


def test_a_warning_given_in_the_parent_is_no_error(monkeypatch):
    """Python 3.15 warns so of other threads; `filterwarnings = error` makes it an exception."""
    forks = os.fork
    children = []

    def fork_and_warn() -> int:
        pid = forks()
        if pid:
            children.append(pid)
            warnings.warn("This process is multi-threaded", DeprecationWarning, stacklevel=2)
        return pid

    monkeypatch.setattr(os, "fork", fork_and_warn)
    filters = warnings.filters[:]
    pid = fork()
    if pid == 0:
        os._exit(7 if warnings.filters == filters else 8)
    assert [pid] == children
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert warnings.filters == filters
