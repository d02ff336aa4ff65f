from amltk_testing import BackendTests


class TestThreads(BackendTests):
    backend = "threads"
    options = {"max_workers": 2}  # noqa: RUF012 - nobody changes it
