from amltk_pynisher import PynisherPlugin
from amltk_testing import TaskPluginTests


class TestPynisher(TaskPluginTests):
    plugin = PynisherPlugin


class TestLimits(TaskPluginTests):
    @staticmethod
    def plugin() -> PynisherPlugin:
        return PynisherPlugin(walltime_limit=60, cputime_limit=60, memory_limit=(4, "GB"))
