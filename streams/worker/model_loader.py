"""Loads the announced snapshot of a model into a worker, in the background.

Announcements come from the global tables; the newest one counts. Its snapshot is fetched, checked and installed in a
thread. If anything fails, the snapshot in use stays in use. A worker never waits for a snapshot: it is ready and serves
before the first one, and while the store is down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.snapshot import Snapshot
from streams.errors import SnapshotCorruptError, SnapshotMissingError, SnapshotTooLargeError, StoreUnreachableError
from streams.metrics import Metrics
from streams.snapshots.store import SnapshotStore
from streams.threads import run_in_daemon_thread
from streams.wire.announcements import Announcement

logger = logging.getLogger(__name__)

_THREAD = "snapshots"

FIRST_PAUSE_S = 1.0
"""Before the first retry: a store may lag a little behind its announcement."""

LONGEST_PAUSE_S = 120.0
"""Between two tries at most; the pause doubles each time. A store that is up again is noticed within two minutes."""

FAULTS: dict[type[Exception], str] = {
    SnapshotMissingError: "missing",
    SnapshotCorruptError: "corrupt",
    SnapshotShapeError: "shape",
    SnapshotFormatError: "format",
    SnapshotTooLargeError: "too large",
    StoreUnreachableError: "unreachable",
}
"""Label of a fault in the metrics; anything else is `model`: the model rejected the snapshot."""


class ModelLoader:
    """The snapshot of one model in one worker.

    `install` takes a snapshot into use. It is called in a thread, one call at a time, and changes shared state last, by
    one assignment. If it raises, it has changed nothing.
    """

    def __init__(
        self,
        model: str,
        store: SnapshotStore,
        install: Callable[[Snapshot], None],
        metrics: Metrics,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self.model = model
        self._store = store
        self._install = install
        self._metrics = metrics
        self._first_pause_s, self._longest_pause_s = first_pause_s, longest_pause_s
        self._wanted: Announcement | None = None
        self.installed: str | None = None
        """Version in use, set when `install` has returned."""
        self.fault: str | None = None
        """Why the announced snapshot is not in use, as of the last try."""
        self._changed = asyncio.Event()

    @property
    def behind(self) -> bool:
        """Whether the announced snapshot is not the one in use."""
        return self._wanted is not None and self._wanted.version != self.installed

    def announced(self, model: str, announcement: Announcement | None) -> None:
        """Take note of an announcement; those of other models are ignored. Called in the event loop.

        None withdraws the last one; the snapshot in use stays in use.
        """
        if model != self.model:
            return
        self._wanted = announcement
        self._metrics.snapshot_behind.labels(model).set(self.behind)
        self._changed.set()

    async def run(self) -> None:
        """Install what is announced, until cancelled.

        Started after the global tables have caught up, so that outdated announcements are not fetched.
        """
        pause_s: float | None = None
        while True:
            if await self._announced_within(pause_s):
                pause_s = None
            wanted = self._wanted
            if wanted is None or not self.behind:
                pause_s = None
                continue
            try:
                await self._load(wanted)
            except Exception as error:  # the worker goes on with the snapshot in use
                if self._wanted != wanted:
                    continue
                pause_s = self._first_pause_s if pause_s is None else min(2 * pause_s, self._longest_pause_s)
                self._report(wanted, error, pause_s)
            else:
                pause_s = None
            self._metrics.snapshot_behind.labels(self.model).set(self.behind)

    async def _load(self, wanted: Announcement) -> None:
        """Fetch, check and install a snapshot, unless a newer one is announced meanwhile."""
        snapshot = await run_in_daemon_thread(
            lambda: self._store.load(wanted.model, wanted.version, wanted.sha256), _THREAD
        )
        if self._wanted != wanted:
            return
        await run_in_daemon_thread(lambda: self._install(snapshot), _THREAD)
        self.installed, self.fault = snapshot.version, None
        self._metrics.snapshot_taken(self.model, snapshot.at)
        logger.info("%s %s is in use (announced by %s)", self.model, snapshot.version, wanted.by)

    async def _announced_within(self, pause_s: float | None) -> bool:
        """Wait for an announcement, without end if `pause_s` is None; returns whether there was one."""
        try:
            await asyncio.wait_for(self._changed.wait(), pause_s)
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def _report(self, wanted: Announcement, error: Exception, pause_s: float) -> None:
        fault = FAULTS.get(type(error), "model")
        self.fault = str(error) or type(error).__name__
        self._metrics.snapshot_faults.labels(self.model, fault).inc()
        elsewhere = "" if wanted.url == self._store.url else f" (it was announced from the store {wanted.url})"
        logger.warning(
            "%s %s cannot be taken: %s%s; %s stays in use, next try in %g s",
            self.model,
            wanted.version,
            self.fault,
            elsewhere,
            self.installed or "none",
            pause_s,
            exc_info=error if fault == "model" else None,
        )
