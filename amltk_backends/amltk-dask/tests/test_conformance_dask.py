import pytest

from amltk_testing import BackendTests

pytestmark = pytest.mark.thorough


class TestDask(BackendTests):
    backend = "dask"
    options = {"n_workers": 2}  # noqa: RUF012 - nobody changes it
    examples = 3  # a cluster takes its time to start
