import pytest

from amltk_testing import BackendTests

pytestmark = pytest.mark.thorough


class TestLoky(BackendTests):
    backend = "loky"
    options = {"max_workers": 2}  # noqa: RUF012 - nobody changes it
    examples = 8  # a worker is a new interpreter, which takes its time
