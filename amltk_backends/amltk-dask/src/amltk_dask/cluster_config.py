"""Settings of dask for clusters that this project starts."""

from __future__ import annotations

from typing import Any

NO_PROFILE = {"distributed.worker.profile.enabled": False}
"""The profile's thread, which Python 3.11 lacks, is still there when a cluster has been closed."""
NO_PAGES: dict[str, Any] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""Without a dashboard: what is left of it shows logs and stacks to all users of the machine."""
