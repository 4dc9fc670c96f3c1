"""The snapshots of one model: which the store has, which is announced, and announcing another."""

from __future__ import annotations

from streams.errors import RecordError, SnapshotMissingError
from streams.kafka.blocking import Sender, TopicReader
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore, Stored
from streams.wire.announcements import Announcement, Announcer, decode_announcement, encode_announcement

TOPIC = "snapshots"


class SnapshotRegistry:
    """One model's snapshots.

    Raises:
        TopicsError: the topic is missing.
        BrokerError: no broker answers.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self.model = model
        self.store = SnapshotStore.of(settings)
        self._settings = settings
        self.announced = self._newest()  # what workers serve; None: nothing was announced

    def before_announced(self) -> str:
        """The newest version in the store that is older than the announced one.

        Raises:
            SnapshotMissingError: nothing is announced, or nothing is older.
        """
        if self.announced is None:
            raise SnapshotMissingError.unannounced(self.model)
        served = self.announced.version
        older = [version for version in self.store.versions(self.model) if version < served]
        if not older:
            raise SnapshotMissingError.none_before(self.model, served, self.store.url)
        return older[-1]

    def announce(self, stored: Stored, by: Announcer) -> None:
        """Tell workers to serve a snapshot of the store; BrokerError if the record is not acknowledged."""
        self.announced = stored.announcement(by)
        with Sender(self._settings, [TOPIC]) as sender:
            sender.send(TOPIC, *encode_announcement(self.announced))

    def _newest(self) -> Announcement | None:
        newest: Announcement | None = None
        with TopicReader(self._settings, [TOPIC]) as reader:
            for batch in reader.read(from_start=True, until_end=True):
                for record in batch:
                    try:
                        model, announcement = decode_announcement(record)
                    except RecordError:
                        continue  # as workers do
                    if model == self.model:
                        newest = announcement
        return newest
