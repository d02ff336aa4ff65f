"""Imports the library pynisher, even where warnings are errors.

Python 3.14 warns of a `return` in a `finally` block when it compiles pynisher 1.0.10. In a read-only installation it
compiles the module at each import.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    import pynisher

__all__ = ["pynisher"]
