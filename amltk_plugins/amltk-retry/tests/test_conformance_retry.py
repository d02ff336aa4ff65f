from amltk.testing import TaskPluginTests
from amltk_retry import Retry


class TestRetry(TaskPluginTests):
    plugin = Retry


class TestRetryOfEverything(TaskPluginTests):
    @staticmethod
    def plugin() -> Retry:
        return Retry(1, on=Exception)
