"""The suite for backends: all its groups as one class."""

from __future__ import annotations

from amltk_testing.backend_calls import Arguments, Exceptions, Results
from amltk_testing.backend_capabilities import Claims, DeadWorkers, Functions, Pickling
from amltk_testing.backend_execution import Executions
from amltk_testing.backend_health_checks import HealthChecks
from amltk_testing.backend_plugin import Plugin
from amltk_testing.backend_runs import Runs, StopNow
from amltk_testing.backend_shutdown import Cancelling, Shutdown
from amltk_testing.leaks import Leftovers
from amltk_testing.state_machine import AnyOrder


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
        from amltk_testing import BackendTests


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
