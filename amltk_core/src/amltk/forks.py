"""What authors of backends need to fork, whatever Python's warnings are set to."""

from __future__ import annotations

import os
import warnings


def fork() -> int:
    """Fork as `os.fork` does, without its warning that the process has other threads.

    Python 3.15 gives this warning when the child exists already. Where warnings are errors, `os.fork` then raises in
    the parent, which does not get the child's id and cannot end it.

    Returns:
        The child's process id; 0 in the child.

    Raises:
        OSError: The system starts no more processes.
    """
    ignored = ("ignore", None, DeprecationWarning, None, 0)
    # Not by `catch_warnings`: with each of its changes, what was to be shown once is shown again.
    warnings.filters.insert(0, ignored)  # type: ignore[attr-defined] # typeshed has a read-only sequence
    try:
        return os.fork()
    finally:
        warnings.filters.remove(ignored)  # type: ignore[attr-defined] # likewise
