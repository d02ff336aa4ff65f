"""`amltk doctor`: whether a backend that is installed really works here, and how long each step takes.

- `examination`: all that is asked of a backend, one check after the other
- `requirements`: whether the versions fit that are installed
- `process`: the process in which a backend is examined: what it says, and how it is ended
- `probe`: what that process does: load the backend, perform its own health checks, start it, run a call, stop it
"""

from __future__ import annotations

from amltk.doctor.examination import Check, Diagnosis, RefusedOptionsError, examine, examine_all

__all__ = ["Check", "Diagnosis", "RefusedOptionsError", "examine", "examine_all"]
