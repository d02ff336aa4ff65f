"""What amltk and its users expect of every backend. What does not apply is skipped, and says why."""

from amltk_testing import BackendTests


class TestNewname(BackendTests):
    """Tests the backend `newname`, with these options."""

    backend = "newname"
    options = {"max_workers": 2}  # noqa: RUF012 - nobody changes it
