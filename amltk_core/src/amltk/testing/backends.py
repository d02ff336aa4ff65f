"""The suite for backends: all its groups as one class."""

from __future__ import annotations

from amltk.testing.backend_calls import Arguments, Exceptions, Results
from amltk.testing.backend_claims import Claims, DeadWorkers, Functions, Pickling
from amltk.testing.backend_ends import Cancelling, Shutdown
from amltk.testing.backend_execution import Executions
from amltk.testing.backend_health_checks import HealthChecks
from amltk.testing.backend_leftovers import Leftovers
from amltk.testing.backend_plugin import Plugin
from amltk.testing.backend_runs import Runs, StopNow
from amltk.testing.machine import AnyOrder


# pytest collects the last base first.
class BackendTests(
    Leftovers,
    HealthChecks,
    Claims,
    Executions,
    DeadWorkers,
    Functions,
    Pickling,
    AnyOrder,
    StopNow,
    Runs,
    Shutdown,
    Cancelling,
    Exceptions,
    Arguments,
    Results,
    Plugin,
):
    """Tests what amltk expects of a backend. Subclass it in a test file of yours.

    Example:
        ```python
        from amltk.testing import BackendTests


        class TestMine(BackendTests):
            backend = "mine"
            options = {"max_workers": 2}
        ```

    What does not apply is skipped, by what the backend claims in its `Capabilities`. Override a
    test to say that yours differs, and why.

    Attributes:
        backend: The name of the backend, as in `with_<name>`.
        options: What its executors are made with.
        seconds: How long anything may take that should happen soon. Raise it where workers take long to start.
        examples: How many sequences of events the state machine tries.
    """
