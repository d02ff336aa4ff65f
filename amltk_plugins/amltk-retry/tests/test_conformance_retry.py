from amltk_retry import Retry
from amltk_testing import TaskPluginTests


class TestRetry(TaskPluginTests):
    plugin = Retry


class TestRetryOfEverything(TaskPluginTests):
    @staticmethod
    def plugin() -> Retry:
        return Retry(1, on=Exception)
