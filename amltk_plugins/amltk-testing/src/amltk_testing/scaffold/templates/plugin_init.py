"""A task plugin of amltk: newname."""

from amltk_newname.plugin import NewnamePlugin

__all__ = ["NewnamePlugin"]
