"""The queue of calls, and which worker gets which call.

Workers get several short calls at a time. A call waits behind another one only while no worker is idle: calls behind a
long one are reclaimed, and so is half of the busiest worker's calls when the queue is empty. All methods but `append`
are for the dispatcher's thread.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

from amltk_processes._call import Call
from amltk_processes._worker_connection import WorkerConnection


class CallQueue(collections.deque[Call]):
    """The calls that no worker has, in the order in which they are to run."""

    __slots__ = ()

    def requeue(self, calls: Sequence[Call]) -> None:
        """Put calls back that have not begun, before all others."""
        self.extendleft(reversed(calls))

    def drop_cancelled(self) -> None:
        """Remove cancelled calls from the front."""
        while self and self[0].future.cancelled():
            self.popleft()

    def cancel_all(self, workers: Sequence[WorkerConnection]) -> None:
        """Cancel all calls that have not begun, here and in `workers`."""
        for worker in workers:
            self.requeue(worker.reclaim())
        while self:
            self.popleft().cancel()

    def assign(self, workers: Sequence[WorkerConnection], flush: Callable[[WorkerConnection], None]) -> None:
        """Give calls to workers with free slots, those with the fewest calls first.

        Args:
            workers: All of the pool.
            flush: Sends what the worker's socket does not take at once.
        """
        share = -(-len(self) // max(len(workers), 1))
        free = [worker for worker in workers if worker.free_slots()]
        for worker in sorted(free, key=lambda worker: len(worker.calls)):
            batch = self._take(min(worker.free_slots(), share), alone=not worker.calls)
            if batch:
                self.requeue(worker.give(batch))
                flush(worker)

    def rebalance(self, workers: Sequence[WorkerConnection], flush: Callable[[WorkerConnection], None]) -> None:
        """Give idle workers calls that wait in busy workers, once the queue is empty."""
        idle = sum(worker.is_idle() for worker in workers)
        while idle and not self and (reclaimed := _reclaim_from_busiest(workers)):
            self.requeue(reclaimed)
            self.assign(workers, flush)
            idle -= 1

    def _take(self, most: int, *, alone: bool) -> list[Call]:
        batch: list[Call] = []
        while self and len(batch) < most:
            if self[0].is_large() and (batch or not alone):
                break  # a large call is sent only to an idle worker, and alone
            call = self.popleft()
            if call.begin():
                batch.append(call)
        return batch


def _reclaim_from_busiest(workers: Sequence[WorkerConnection]) -> list[Call]:
    busiest = max(workers, key=lambda worker: len(worker.calls))
    # The first call of a worker that is still starting has not begun either.
    return busiest.reclaim((len(busiest.calls) + (busiest.pid is None)) // 2)
