"""How far the sources of pair deltas have come, so that no message can speak of events that do not exist.

A receiver skips events up to the last offset that it has applied of a source. A message with an offset beyond the
source's end would make it skip all later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiokafka import TopicPartition

from streams.kafka.log import Log
from streams.wire.pair_deltas import SOURCE_TOPICS, source_name
from streams.wire.topics import Identity, full_name


class SourceEnds:
    """Ends of the partitions that the sources stand for. One for all tasks of a worker: a look-up serves them all.

    Args:
        identities: of all topics, by full name.
        highwater: end of a partition as far as it is known without a request; None: not known.
    """

    def __init__(
        self,
        log: Log,
        highwater: Callable[[TopicPartition], int | None],
        identities: Mapping[str, Identity],
        prefix: str,
    ) -> None:
        self._log, self._highwater = log, highwater
        self._partitions: dict[str, TopicPartition] = {}  # by source
        for source, topic in SOURCE_TOPICS.items():
            name = full_name(prefix, topic)
            for number in range(identities[name].partitions):
                known_as = source_name(source, number, identities[name].topic_id)
                self._partitions[known_as] = TopicPartition(name, number)
        self._ends: dict[TopicPartition, int] = {}

    def __contains__(self, source: str) -> bool:
        """Whether there is such a source."""
        return source in self._partitions

    def __getitem__(self, source: str) -> int:
        """Offset that no event of the source had reached when it was last looked up."""
        partition = self._partitions[source]
        return max(self._ends.get(partition, 0), self._highwater(partition) or 0)

    async def look_up(self) -> None:
        """Ask for the ends of all partitions."""
        self._ends = await self._log.ends(set(self._partitions.values()))
