"""`amltk new`: writes a complete distribution of a backend or a task plugin, to be filled in.

- `command`: the command line
- `names`: which names and folders are allowed
- `writing`: the files, made from those in `templates`
"""

from __future__ import annotations

from amltk_testing.scaffold.names import Kind, ScaffoldError
from amltk_testing.scaffold.writing import write

__all__ = ["Kind", "ScaffoldError", "write"]
