from amltk.testing import BackendTests


class TestSequential(BackendTests):
    backend = "sequential"
