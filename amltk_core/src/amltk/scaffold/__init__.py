"""`amltk new`: writes a complete distribution of a backend or a task plugin, to be filled in.

- `names`: what it may be called, and where it may go
- `writing`: the files, made from those in `templates`
"""

from __future__ import annotations

from amltk.scaffold.names import Kind, ScaffoldError
from amltk.scaffold.writing import write

__all__ = ["Kind", "ScaffoldError", "write"]
