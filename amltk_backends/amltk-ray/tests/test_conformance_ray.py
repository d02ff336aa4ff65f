import pytest

from amltk.testing import BackendTests

pytestmark = pytest.mark.thorough


class TestRay(BackendTests):
    backend = "ray"
    options = {"max_workers": 2}  # noqa: RUF012 - nobody changes it
    examples = 3  # a cluster takes its time to start
