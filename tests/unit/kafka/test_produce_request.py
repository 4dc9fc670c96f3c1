"""The encoded request is, byte for byte, aiokafka's own, and its response is read alike, in every version."""

from __future__ import annotations

from collections import defaultdict
from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.produce import ProduceRequest

from streams.kafka.produce_request import REQUEST_TIMEOUT_MS, Batch, EncodedProduceRequest, Where

BATCHES: dict[Where, Batch] = {
    ("clicks", 3): (b"header", b"records"),
    ("größe", 0): (b"h", b""),
    ("clicks", 1): (b"header 2", b"more records"),
}


def pair_of(version: int) -> tuple[Any, Any]:
    """aiokafka's request of a version, and ours."""
    topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for (topic, partition), batch in BATCHES.items():
        topics[topic].append((partition, b"".join(batch)))
    theirs = ProduceRequest(None, -1, REQUEST_TIMEOUT_MS, list(topics.items()))
    versions = {ProduceRequest.API_KEY: (version, version)}
    return theirs.prepare(versions), EncodedProduceRequest(BATCHES).prepare(versions)


@pytest.mark.parametrize("version", range(3, 8))
def test_the_request_is_that_of_aiokafka(version: int) -> None:
    theirs, ours = pair_of(version)
    assert ours.encode() == theirs.encode()
    assert ours.build_request_header(7, "me").encode() == theirs.build_request_header(7, "me").encode()


@pytest.mark.parametrize("version", range(3, 8))
def test_the_response_is_read_as_by_aiokafka(version: int) -> None:
    theirs, ours = pair_of(version)
    behind = [2**40, -1, 5][: 2 if version < 5 else 3]
    topics = [("clicks", [(3, 0, *behind), (1, 6, *behind)]), ("größe", [(0, -1, *behind)])]
    data = theirs.RESPONSE_TYPE(topics, 0).encode()
    read = theirs.RESPONSE_TYPE.decode(BytesIO(data))
    codes = {(topic, part[0]): part[1] for topic, parts in read.topics for part in parts}
    assert ours.RESPONSE_TYPE.decode(BytesIO(data)) == codes == {("clicks", 3): 0, ("clicks", 1): 6, ("größe", 0): -1}


def test_it_waits_for_all_replicas() -> None:
    assert EncodedProduceRequest(BATCHES).required_acks == -1
