"""What amltk and its users expect of every task plugin. What does not apply is skipped, and says why."""

from amltk_testing import TaskPluginTests

from amltk_newname.plugin import NewnamePlugin


class TestNewnamePlugin(TaskPluginTests):
    """Tests `NewnamePlugin` as it is made without arguments."""

    plugin = NewnamePlugin
    refuses_after = 10
