"""The library pynisher, imported where Python's warnings about its source are errors, too.

Python 3.14 warns of a `return` in a `finally` block when it compiles pynisher 1.0.10. It compiles a module at each
import where it cannot store the result, as in a read-only installation.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    import pynisher

__all__ = ["pynisher"]
