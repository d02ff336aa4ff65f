from amltk_call_limiter import CallLimiter
from amltk_testing import TaskPluginTests


class TestCallLimiter(TaskPluginTests):
    plugin = CallLimiter


class TestLimitedCalls(TaskPluginTests):
    @staticmethod
    def plugin() -> CallLimiter:
        return CallLimiter(max_calls=2)

    refuses_after = 2


class TestLimitedConcurrency(TaskPluginTests):
    @staticmethod
    def plugin() -> CallLimiter:
        return CallLimiter(max_concurrent=3)

    refuses_after = 3
