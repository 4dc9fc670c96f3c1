"""Brings the announced snapshot of a model into a worker, beside its work.

Announcements come from the mirror. The newest one counts; it is fetched, checked and handed to the model in a thread,
and whatever goes wrong on the way, the snapshot in use stays in use. A worker is ready and serves before the first one,
without one, and while the store is down: nothing here is waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.snapshot import Snapshot
from streams.errors import SnapshotCorruptError, SnapshotMissingError, StoreUnreachableError
from streams.metrics import Metrics
from streams.snapshots.store import SnapshotStore
from streams.threads import run_in_daemon_thread
from streams.wire.announcements import Announcement

logger = logging.getLogger(__name__)

_THREAD = "snapshots"

FIRST_PAUSE_S = 1.0
"""Before the first repeated try: a store that lags behind its announcement by a moment is not worth more."""

LONGEST_PAUSE_S = 120.0
"""Between two tries, which come twice as late each time: a store that is down is not besieged, and one that is up again
is noticed within two minutes."""

FAULTS: dict[type[Exception], str] = {
    SnapshotMissingError: "missing",
    SnapshotCorruptError: "corrupt",
    SnapshotShapeError: "shape",
    SnapshotFormatError: "format",
    StoreUnreachableError: "unreachable",
}
"""What the metrics call a fault; anything else is `model`: the model would not take it."""


class ModelLoader:
    """The snapshot of one model in one worker.

    Args:
        model: name.
        store: where snapshots are.
        install: takes a snapshot into use. Called in a thread of its own, by one at a time: what it changes in what
            others use, it changes last and at once (one assignment). If it raises, it has changed nothing.
        metrics: counts swaps and faults.
        first_pause_s: before the first repeated try, in seconds.
        longest_pause_s: between two tries at most, in seconds.
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
        self._installed: str | None = None
        self._news = asyncio.Event()

    @property
    def installed(self) -> str | None:
        """Version in use, set once `install` has returned; None before the first."""
        return self._installed

    @property
    def behind(self) -> bool:
        """Whether the announced snapshot is not the one in use."""
        return self._wanted is not None and self._wanted.version != self._installed

    def announced(self, model: str, announcement: Announcement | None) -> None:
        """Hear an announcement; the mirror calls it, in the event loop. Those of other models are passed over.

        Args:
            model: whose.
            announcement: None takes the last one back: what is in use stays in use.
        """
        if model != self.model:
            return
        self._wanted = announcement
        self._metrics.snapshot_behind(model, self.behind)
        self._news.set()

    async def run(self) -> None:
        """Take what is announced into use, until cancelled.

        Started once the mirror has caught up, so that it does not fetch what was announced long ago.
        """
        pause_s: float | None = None
        while True:
            if await self._hears_within(pause_s):
                pause_s = None
            wanted = self._wanted
            if wanted is None or not self.behind:
                pause_s = None
                continue
            try:
                await self._bring(wanted)
            except Exception as error:  # whatever it is: the worker serves on with what it has
                if self._wanted != wanted:
                    continue
                pause_s = self._first_pause_s if pause_s is None else min(2 * pause_s, self._longest_pause_s)
                self._complain(wanted, error, pause_s)
            else:
                pause_s = None
            self._metrics.snapshot_behind(self.model, self.behind)

    async def _bring(self, wanted: Announcement) -> None:
        """Fetch, check and install; one that is not the newest any more is left."""
        snapshot = await run_in_daemon_thread(
            lambda: self._store.load(wanted.model, wanted.version, wanted.sha256), _THREAD
        )
        if self._wanted != wanted:
            return
        await run_in_daemon_thread(lambda: self._install(snapshot), _THREAD)
        self._installed = snapshot.version
        self._metrics.snapshot_taken(self.model, snapshot.at)
        logger.info("%s %s is in use (announced by %s)", self.model, snapshot.version, wanted.by)

    async def _hears_within(self, pause_s: float | None) -> bool:
        """Wait for an announcement, for so long at most; None: for ever. Whether there was one."""
        try:
            await asyncio.wait_for(self._news.wait(), pause_s)
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def _complain(self, wanted: Announcement, error: Exception, pause_s: float) -> None:
        fault = FAULTS.get(type(error), "model")
        self._metrics.snapshot_fault(self.model, fault)
        elsewhere = "" if wanted.url == self._store.url else f" (it was announced from the store {wanted.url})"
        logger.warning(
            "%s %s cannot be taken: %s%s; %s stays in use, next try in %g s",
            self.model,
            wanted.version,
            str(error) or type(error).__name__,
            elsewhere,
            self._installed or "none",
            pause_s,
            exc_info=error if fault == "model" else None,
        )
