"""The minimal stateful Faust app: decodes an event, counts it in a table, sends one record.

Stock Faust: its consumer, aiokafka driver, producer, and a table with its changelog, in one process. Configured for
speed: no web server, no leader topic, uvloop, raw keys and values around one orjson decode and encode, the table in
memory. Run as `python -m streams.bench.echo BOOTSTRAP PREFIX LINGER_MS PARTITIONS`.
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
"""Short name of the output topic, keyed and partitioned as the worker's."""


def create_echo(bootstrap_servers: str, prefix: str, linger_ms: float, partitions: int) -> faust.App:
    """The app; the prefix is that of its topics and its group, the partitions those of its topics and its table."""
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
        """Count an event for its shopper, and send the id of the event."""
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
    # Below INFO Faust shows a spinner, for which every debug message of every library is formatted.
    faust.Worker(app, loglevel="INFO", redirect_stdouts=False, loop=loop).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
