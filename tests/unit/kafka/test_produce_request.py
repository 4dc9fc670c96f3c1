"""The encoded request is, byte for byte, aiokafka's own, and its response is read alike, in every version."""

from __future__ import annotations

from collections import defaultdict
from io import BytesIO
from struct import pack
from typing import Any

import pytest
from aiokafka.protocol.produce import ProduceRequest

from streams.kafka.produce_request import REQUEST_TIMEOUT_MS, Batch, Where, version_of

BATCHES: dict[Where, Batch] = {
    ("clicks", 3): (b"header", b"records"),
    ("größe", 0): (b"h", b""),
    ("clicks", 1): (b"header 2", b"more records"),
}


def request_of(version: int) -> Any:
    """aiokafka's request of a version."""
    topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for (topic, partition), batch in BATCHES.items():
        topics[topic].append((partition, b"".join(batch)))
    request = ProduceRequest(None, -1, REQUEST_TIMEOUT_MS, list(topics.items()))
    return request.prepare({ProduceRequest.API_KEY: (version, version)})


@pytest.mark.parametrize("version", range(3, 8))
def test_the_request_is_that_of_aiokafka(version: int) -> None:
    theirs = request_of(version)
    message = theirs.build_request_header(7, "mé").encode() + theirs.encode()
    assert b"".join(version_of(version, version).request(7, "mé", BATCHES)) == pack(">i", len(message)) + message


def test_it_is_of_the_latest_version_that_both_sides_know() -> None:
    assert version_of(0, 12) is not version_of(0, 6)
    assert b"".join(version_of(0, 12).request(7, "me", BATCHES))[4:8] == pack(">hh", 0, 7)


@pytest.mark.parametrize("version", range(3, 8))
def test_the_response_is_read_as_by_aiokafka(version: int) -> None:
    theirs = request_of(version).RESPONSE_TYPE
    behind = [2**40, -1, 5][: 2 if version < 5 else 3]
    topics = [("clicks", [(3, 0, *behind), (1, 6, *behind)]), ("größe", [(0, -1, *behind)])]
    data = theirs(topics, 0).encode()
    ours = version_of(version, version)
    whole = BytesIO(pack(">i", 7) + data)
    assert ours.parse_response_header(whole).correlation_id == 7
    codes = {(topic, part[0]): part[1] for topic, parts in theirs.decode(BytesIO(data)).topics for part in parts}
    assert codes == {("clicks", 3): 0, ("clicks", 1): 6, ("größe", 0): -1}
    assert ours.RESPONSE_TYPE.decode(whole) == codes
