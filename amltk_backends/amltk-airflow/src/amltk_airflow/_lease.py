"""The lease: an object in the store that shows workers that this process is alive, and which calls to stop."""

from __future__ import annotations

import logging
import threading
import time

from amltk_airflow import _messages
from amltk_airflow._signing import Key
from amltk_airflow._store import Store

_log = logging.getLogger("amltk_airflow")

_BEATS = 5
"""The number of renewals within the lease's time."""


class Lease:
    """The lease of one session. A thread of its own renews it, so that nothing can delay that."""

    def __init__(self, store: Store, key: Key, seconds: float) -> None:
        """Write the lease, and start to renew it.

        Args:
            store: The session's folder.
            key: Signs the lease.
            seconds: Seconds without a renewal after which the lease expires.

        Raises:
            OSError: The store can't be written.
        """
        self._store = store
        self._key = key
        self._seconds = seconds
        self._lock = threading.Lock()
        self._stopped: set[str] = set()
        self._over = False
        self._beat = self._written = 0
        self._closed = False
        self._due = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._keep, name="amltk-airflow: keeps the lease", daemon=True)
        self._thread.start()

    @property
    def beat(self) -> int:
        """The number of the lease in the store; it grows with each renewal, so that workers recognize old ones."""
        return self._written

    def stop_soon(self, call: str) -> None:
        """Request that a call does not begin, or ends, as soon as possible; this does not wait for the store."""
        with self._lock:
            self._stopped.add(call)
        self._due.set()

    def stop(self, *calls: str) -> None:
        """Request that calls do not begin, or end; when this returns, workers can read it.

        Raises:
            OSError: The store can't be written.
        """
        with self._lock:
            self._stopped.update(calls)
        self._write()

    def forget(self, *calls: str) -> None:
        """Remove calls that have ended from the lease."""
        with self._lock:
            self._stopped.difference_update(calls)

    def end(self) -> None:
        """Request that no more calls begin, and all running ones end.

        Raises:
            OSError: The store can't be written.
        """
        with self._lock:
            self._over = True
        self._write()

    def close(self) -> None:
        """Stop renewing the lease."""
        self._closed = True
        self._due.set()
        self._thread.join()

    def _write(self) -> None:
        with self._lock:
            self._beat += 1
            content = {"beat": self._beat, "at": time.time(), "stopped": sorted(self._stopped), "over": self._over}
            self._store.write(_messages.LEASE, _messages.write(self._key, (_messages.LEASE, self._store.url), content))
            self._written = self._beat

    def _keep(self) -> None:
        while True:
            self._due.wait(self._seconds / _BEATS)
            self._due.clear()
            if self._closed:
                return
            try:
                self._write()
            except Exception as error:
                _log.warning("The lease in %s can't be renewed: %s: %s", self._store.url, type(error).__name__, error)
