from amltk_testing import BackendTests


class TestProcesses(BackendTests):
    backend = "processes"
    options = {"max_workers": 2}  # noqa: RUF012 - nobody changes it
