"""The lease: an object in the store that tells workers that this process lives, and what it does not want any more."""

from __future__ import annotations

import logging
import threading
import time

from amltk_airflow import _messages
from amltk_airflow._signing import Key
from amltk_airflow._store import Store

_log = logging.getLogger("amltk_airflow")

_BEATS = 5
"""So often it is renewed before it would expire."""


class Lease:
    """Of one session; it is renewed by a thread of its own, since nothing may hold that up."""

    def __init__(self, store: Store, key: Key, seconds: float) -> None:
        """Write it, and keep it up.

        Args:
            store: The folder of the session.
            key: Signs it.
            seconds: After so many seconds without a renewal it is over.

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
        """The number of the one that is in the store: each renewal has a higher one, by which old ones are known."""
        return self._written

    def stop_soon(self, call: str) -> None:
        """Have a call not begin, or end, as soon as possible; this does not wait for the store."""
        with self._lock:
            self._stopped.add(call)
        self._due.set()

    def stop(self, *calls: str) -> None:
        """Have calls not begin, or end; workers can know it when this comes back.

        Raises:
            OSError: The store can't be written.
        """
        with self._lock:
            self._stopped.update(calls)
        self._write()

    def forget(self, *calls: str) -> None:
        """Say no more of calls that have ended."""
        with self._lock:
            self._stopped.difference_update(calls)

    def end(self) -> None:
        """Have no call begin any more, and all that run end.

        Raises:
            OSError: The store can't be written.
        """
        with self._lock:
            self._over = True
        self._write()

    def close(self) -> None:
        """Keep it up no longer."""
        self._closed = True
        self._due.set()
        self._thread.join()

    def _write(self) -> None:
        with self._lock:
            self._beat += 1
            told = {"beat": self._beat, "at": time.time(), "stopped": sorted(self._stopped), "over": self._over}
            self._store.write(_messages.LEASE, _messages.write(self._key, (_messages.LEASE, self._store.url), told))
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
