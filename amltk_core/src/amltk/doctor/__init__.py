"""`amltk doctor`: whether a backend that is installed really works here, and how long each step takes.

- `examination`: all that is asked of a backend, one check after the other
- `requirements`: whether the versions fit that are installed
- `probe`: what a backend's own process does: load it, start it, run a call, stop it
"""

from __future__ import annotations

from amltk.doctor.examination import Check, Diagnosis, examine, examine_all

__all__ = ["Check", "Diagnosis", "examine", "examine_all"]
