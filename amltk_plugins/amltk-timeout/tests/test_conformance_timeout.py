from amltk_testing import TaskPluginTests
from amltk_timeout import Timeout


class TestTimeout(TaskPluginTests):
    @staticmethod
    def plugin() -> Timeout:
        return Timeout(60)
