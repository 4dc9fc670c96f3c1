"""The request that sends record batches: its bytes are made at once instead of field by field, and never joined.

They are those of `aiokafka.protocol.produce.ProduceRequest`, and leave by the connections of aiokafka's client, which
know addresses, TLS, authentication and correlation. Its own way copies all batches seven times.
"""

# ruff: noqa: SLF001 - aiokafka has no documented way that does not join a request

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from struct import Struct
from typing import Any, NamedTuple, Self

from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.util import wait_for

Where = tuple[str, int]
"""Topic and partition."""

Batch = tuple[bytes, bytes]
"""A record batch: header and records."""

REQUEST_TIMEOUT_MS = 10_000
"""Longest wait for the acknowledgement of a request."""

ALL_REPLICAS = -1
"""Are to acknowledge the batches."""

_COUNT, _TEXT_SIZE, _PARTITION = Struct(">i"), Struct(">h"), Struct(">ii")
_START = Struct(">ihhi")
"""Size of what follows, key and version of the request, correlation id."""

_BEHIND_SIZE = _START.size - _COUNT.size
_OUTCOME = Struct(">ih")
_OUTCOME_BYTES = {3: 22, 4: 22, 5: 30, 6: 30, 7: 30}
"""Of a partition in a response, by version: partition, error, offset, time, from version 5 on the log's start."""


async def send_batches(client: Any, node_id: int, batches: Mapping[Where, Batch]) -> dict[Where, int]:
    """Send a batch to each of some partitions that a node leads; returns the error codes.

    As `aiokafka.client.AIOKafkaClient.send`.

    Raises:
        KafkaError: the request was not sent, or not answered.
    """
    if not await client.ready(node_id):
        message = f"node {node_id} is not ready"
        raise NodeNotReadyError(message)
    connection = client._conns[node_id, ConnectionGroup.DEFAULT]
    try:
        outcomes: dict[Where, int] = await _sent(connection, batches)
    except TimeoutError as error:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        raise RequestTimedOutError from error
    return outcomes


async def _sent(connection: Any, batches: Mapping[Where, Batch]) -> Any:
    """The response to a request over a connection; as of `aiokafka.conn.AIOKafkaConnection.send`."""
    if connection._writer is None:
        message = f"no connection to the broker at {connection.host}:{connection.port}"
        raise KafkaConnectionError(message)
    version = version_of(*connection._versions[ProduceRequest.API_KEY])
    correlation_id = connection._next_correlation_id()
    try:
        connection._writer.writelines(version.request(correlation_id, connection._client_id, batches))
    except OSError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        message = f"the connection to {connection.host}:{connection.port} is broken: {error}"
        raise KafkaConnectionError(message) from error
    response = asyncio.get_running_loop().create_future()
    connection._requests.append((correlation_id, version, response))
    return await wait_for(response, connection._request_timeout)


class ResponseHeader(NamedTuple):
    """What stands before a response."""

    correlation_id: int


class RequestVersion:
    """A version of the request; aiokafka's connection takes it for the request that a response belongs to."""

    def __init__(self, struct: Any) -> None:
        self._key_and_version = struct.API_KEY, struct.API_VERSION
        self._before_topics = struct.encode()[: -_COUNT.size]
        self._outcome_bytes = _OUTCOME_BYTES[struct.API_VERSION]

    @property
    def RESPONSE_TYPE(self) -> Self:  # noqa: N802 - as aiokafka calls it
        """What decodes a response."""
        return self

    def request(self, correlation_id: int, client_id: str, batches: Mapping[Where, Batch]) -> list[bytes]:
        """The bytes of a request, in pieces."""
        topics: defaultdict[str, list[bytes]] = defaultdict(list)
        size = 0
        for (topic, partition), (header, records) in batches.items():
            batch_size = len(header) + len(records)
            topics[topic] += _PARTITION.pack(partition, batch_size) + header, records
            size += _PARTITION.size + batch_size
        client = client_id.encode()
        before = _TEXT_SIZE.pack(len(client)) + client + self._before_topics + _COUNT.pack(len(topics))
        pieces = [before]
        size += _BEHIND_SIZE + len(before)
        for topic, parts in topics.items():
            name = topic.encode()
            start = _TEXT_SIZE.pack(len(name)) + name + _COUNT.pack(len(parts) // 2)
            size += len(start)
            parts[0] = start + parts[0]
            pieces += parts
        pieces[0] = _START.pack(size, *self._key_and_version, correlation_id) + before
        return pieces

    def parse_response_header(self, data: BytesIO) -> ResponseHeader:
        """What stands before a response."""
        return ResponseHeader(*_COUNT.unpack(data.read(_COUNT.size)))

    def decode(self, data: BytesIO) -> dict[Where, int]:
        """Error codes of the partitions, in what follows a response's header."""
        raw = data.read()
        codes, at = dict[Where, int](), _COUNT.size
        for _ in range(*_COUNT.unpack_from(raw)):
            start = at + _TEXT_SIZE.size
            at = start + _TEXT_SIZE.unpack_from(raw, at)[0]
            topic = raw[start:at].decode()
            number = _COUNT.unpack_from(raw, at)[0]
            at += _COUNT.size
            for _ in range(number):
                partition, code = _OUTCOME.unpack_from(raw, at)
                codes[topic, partition] = code
                at += self._outcome_bytes
        return codes


@cache
def version_of(lowest: int, highest: int) -> RequestVersion:
    """The latest version in a range that a broker understands."""
    request = ProduceRequest(None, ALL_REPLICAS, REQUEST_TIMEOUT_MS, [])
    return RequestVersion(request.prepare({ProduceRequest.API_KEY: (lowest, highest)}))
