"""Settings of dask for clusters that this project starts."""

from __future__ import annotations

from typing import Any

NO_PROFILE = {"distributed.worker.profile.enabled": False}
"""Without the profiler: except on Python 3.11, its thread outlives a closed cluster."""
NO_PAGES: dict[str, Any] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""Settings without pages: even without a dashboard, dask shows logs and stacks to all users of the machine."""
