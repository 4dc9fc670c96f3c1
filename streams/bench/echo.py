"""The least that a stateful Faust app can do for an event: decode it, count it in a table, send one record on.

Stock Faust: its own consumer, its aiokafka driver and producer, a table with its changelog, all in one process. Set up
in its favour: no web server, no leader topic, uvloop, raw keys and values around one orjson decode and encode, the
table's store in memory. Run as `python -m streams.bench.echo BOOTSTRAP PREFIX LINGER_MS PARTITIONS`.
"""

from __future__ import annotations

import sys
from typing import Any

import faust
import orjson

from streams.faust_app import FolderlessApp, new_event_loop
from streams.wire.topics import full_name

ECHOED_TOPICS = ("clicks", "purchases")
OUTPUT = "suggestions"
"""Short name of the topic that the echo writes to: keyed and partitioned as the worker's own output."""


def create_echo(bootstrap_servers: str, prefix: str, linger_ms: float, partitions: int) -> faust.App:
    """The app.

    Args:
        bootstrap_servers: HOST:PORT of the broker.
        prefix: of its topics' names, and its group.
        linger_ms: how long Faust's producer waits for company for a record.
        partitions: of its topics, and so of its table.
    """
    app = FolderlessApp(
        f"{prefix}echo",
        broker=f"kafka://{bootstrap_servers}",
        store="memory://",
        topic_disable_leader=True,
        topic_partitions=partitions,
        web_enabled=False,
        producer_linger=linger_ms / 1000,
        worker_redirect_stdouts=False,
    )
    sources = app.topic(
        *(full_name(prefix, name) for name in ECHOED_TOPICS), key_type=bytes, value_type=bytes, value_serializer="raw"
    )
    output = app.topic(
        full_name(prefix, OUTPUT), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
    counts = app.Table("counts", default=int, key_type=bytes, value_type=int, partitions=partitions)

    @app.agent(sources)
    async def echo(stream: Any) -> None:
        """Count an event for its shopper, and send on which event it was."""
        async for value in stream:
            key = orjson.loads(value)["user_id"].encode()
            count = counts[key] = counts[key] + 1
            message = stream.current_event.message
            source = f"{message.topic}-{message.partition}-{message.offset}"
            await output.send(key=key, value=orjson.dumps({"suggestion_id": source, "count": count}))

    return app


def main(arguments: list[str]) -> None:
    """Run the echo until SIGTERM."""
    bootstrap_servers, prefix, linger_ms, partitions = arguments
    app = create_echo(bootstrap_servers, prefix, float(linger_ms), int(partitions))
    loop = new_event_loop()
    # With INFO, not less: below it Faust shows a spinner, for which every debug message of every library is made.
    faust.Worker(app, loglevel="INFO", redirect_stdouts=False, loop=loop).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
