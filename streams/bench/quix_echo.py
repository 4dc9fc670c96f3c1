"""The minimal stateful Quix Streams app: decodes an event, counts it in a state, sends one record.

Stock Quix Streams: librdkafka's consumer and producer, and a RocksDB state with its changelog, in one process. What
differs from the defaults are a producer that lingers as the Faust echo's, and keys and values as bytes around one
orjson decode and encode. Run as `python -m streams.bench.quix_echo BOOTSTRAP PREFIX LINGER_MS STATE_FOLDER`. Needs the
extra `quix`.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import orjson

from streams.bench.echo import ECHOED_TOPICS, OUTPUT
from streams.wire.topics import full_name

MISSING = (
    "--against quix needs Quix Streams, which is not installed: pip install 'crosscurrent[quix]' (or quixstreams) "
    "installs it"
)
"""What to say without it."""


def is_installed() -> bool:
    """Whether Quix Streams is installed."""
    return find_spec("quixstreams") is not None


def echoed(value: bytes, state: Any, source: str) -> bytes:
    """Count an event for its shopper, and return the record to send; `source` is the event's id."""
    user_id = orjson.loads(value)["user_id"]
    count = state.get(user_id, 0) + 1
    state.set(user_id, count)
    return orjson.dumps({"suggestion_id": source, "count": count})


def create_quix_echo(bootstrap_servers: str, prefix: str, linger_ms: float, folder: str) -> Any:
    """The app; the prefix is that of its topics and its group, the folder holds its state."""
    import quixstreams

    app = quixstreams.Application(
        broker_address=bootstrap_servers,
        consumer_group=f"{prefix}quix-echo",
        auto_offset_reset="earliest",
        auto_create_topics=True,  # its changelogs
        state_dir=folder,
        producer_extra_config={"linger.ms": linger_ms},
        loglevel="WARNING",
    )

    def answer(value: bytes, key: bytes, timestamp: int, headers: Any, state: Any) -> bytes:
        context = quixstreams.message_context()
        return echoed(value, state, f"{context.topic}-{context.partition}-{context.offset}")

    raw = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    output = app.topic(full_name(prefix, OUTPUT), key_serializer="bytes", value_serializer="bytes")
    for name in ECHOED_TOPICS:
        stream = app.dataframe(app.topic(full_name(prefix, name), **raw))
        stream.apply(answer, stateful=True, metadata=True).to_topic(output)
    return app


def main(arguments: list[str]) -> None:
    """Run the echo until SIGTERM."""
    bootstrap_servers, prefix, linger_ms, folder = arguments
    app = create_quix_echo(bootstrap_servers, prefix, float(linger_ms), folder)
    print("ready", flush=True)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1:])
