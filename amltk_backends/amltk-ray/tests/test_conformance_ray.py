import pytest

from amltk.testing import BackendTests

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]


class TestRay(BackendTests):
    backend = "ray"
    options = {"max_workers": 2}  # noqa: RUF012 - nobody changes it
    examples = 1  # a cluster takes 4 to 18 seconds to start, and each has several runs
