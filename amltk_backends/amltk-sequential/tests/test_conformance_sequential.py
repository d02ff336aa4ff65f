from amltk_testing import BackendTests


class TestSequential(BackendTests):
    backend = "sequential"
