"""`python -m amltk` is `amltk`."""

from __future__ import annotations

import sys

from amltk.cli import main

if __name__ == "__main__":
    sys.exit(main())
