"""The request that sends record batches, and its response: bytes made and read at once instead of field by field.

aiokafka's client sends it and finds its response, as for any request. What aiokafka's own request makes of the same
batches is the same, byte for byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from struct import Struct
from typing import Any

from aiokafka.protocol.produce import ProduceRequest

Where = tuple[str, int]
"""Topic and partition."""

Batch = tuple[bytes, bytes]
"""A record batch: header and records."""

REQUEST_TIMEOUT_MS = 10_000
"""Longest wait for the acknowledgement of a request."""

ALL_REPLICAS = -1
"""Are to acknowledge the batches."""

_COUNT, _TEXT_SIZE, _PARTITION = Struct(">i"), Struct(">h"), Struct(">ii")
_OUTCOME = Struct(">ih")
_OUTCOME_BYTES = {3: 22, 4: 22, 5: 30, 6: 30, 7: 30}
"""Of a partition in a response, by version: partition, error, offset, time, from version 5 on the log's start."""


class EncodedProduceRequest(ProduceRequest):  # type: ignore[misc]
    """A request that sends a batch to each of some partitions; it is answered with the error code of each."""

    def __init__(self, batches: Mapping[Where, Batch]) -> None:
        super().__init__(None, ALL_REPLICAS, REQUEST_TIMEOUT_MS, [])
        self._batches = batches

    def build(self, request_struct_class: Any) -> Any:
        """The request of a version."""
        return _struct_of(request_struct_class)(self._batches)


@cache
def _struct_of(version: Any) -> Any:
    """The encoded request of one version."""
    before = version(None, ALL_REPLICAS, REQUEST_TIMEOUT_MS, []).encode()[: -_COUNT.size]
    outcome_bytes = _OUTCOME_BYTES[version.API_VERSION]

    class Outcomes:
        @staticmethod
        def decode(data: BytesIO) -> dict[Where, int]:
            return outcomes(data.read(), outcome_bytes)

    class Encoded(version):  # type: ignore[misc]
        RESPONSE_TYPE = Outcomes

        def __init__(self, batches: Mapping[Where, Batch]) -> None:
            super().__init__(None, ALL_REPLICAS, REQUEST_TIMEOUT_MS, [])
            self._batches = batches

        def encode(self) -> bytes:
            return before + encoded_topics(self._batches)

    return Encoded


def encoded_topics(batches: Mapping[Where, Batch]) -> bytes:
    """Batches as a request lists them, by topic and partition."""
    topics: defaultdict[str, list[bytes]] = defaultdict(list)
    for (topic, partition), (header, records) in batches.items():
        topics[topic] += _PARTITION.pack(partition, len(header) + len(records)), header, records
    pieces = [_COUNT.pack(len(topics))]
    for topic, parts in topics.items():
        name = topic.encode()
        pieces += _TEXT_SIZE.pack(len(name)), name, _COUNT.pack(len(parts) // 3), *parts
    return b"".join(pieces)


def outcomes(data: bytes, outcome_bytes: int) -> dict[Where, int]:
    """Error codes in what follows a response's header."""
    codes, at = dict[Where, int](), _COUNT.size
    for _ in range(_COUNT.unpack_from(data)[0]):
        start = at + _TEXT_SIZE.size
        at = start + _TEXT_SIZE.unpack_from(data, at)[0]
        topic = data[start:at].decode()
        number = _COUNT.unpack_from(data, at)[0]
        at += _COUNT.size
        for _ in range(number):
            partition, codes_of = _OUTCOME.unpack_from(data, at)
            codes[topic, partition] = codes_of
            at += outcome_bytes
    return codes
