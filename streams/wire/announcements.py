"""Records of the compacted topic `snapshots`, keyed by model: which snapshot to serve.

The newest record of a model counts, whatever its version: a rollback announces an older version.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.snapshot import MODEL_NAME, VERSION
from streams.wire.record import SHOWN, Record, Seconds, check_key, decoded, refusal

Announcer = Literal["trainer", "rollback", "import"]


class Announcement(msgspec.Struct, frozen=True):
    """Tells workers to serve a snapshot."""

    v: Literal[1]
    model: Annotated[str, Meta(pattern=f"^{MODEL_NAME.pattern}")]
    version: Annotated[str, Meta(pattern=f"^{VERSION.pattern}")]
    url: Annotated[str, Meta(max_length=4_096)]
    """Of the store it was saved to. For people: readers use the store of their own settings."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Of the manifest, which holds that of the weights."""
    at: Seconds
    """Event time of the last event learnt, in epoch seconds."""
    by: Announcer


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Announcement).decode


def encode_announcement(announcement: Announcement) -> tuple[bytes, bytes]:
    """Key and value of a record of `snapshots`."""
    return announcement.model.encode(), _encode(announcement)


def decode_announcement(record: Record) -> tuple[str, Announcement | None]:
    """The model of a record of `snapshots`, and its announcement; None: it was removed.

    Raises:
        RecordError: it is no announcement, or its key is not its model.
    """
    key = (record.key or b"").decode(errors="replace")
    if record.value is None:
        if not MODEL_NAME.match(key):
            raise refusal(record, None, "keyed by a model, as the value is null", repr(key[:SHOWN]))
        return key, None
    announcement = decoded(_decode, record, "an announcement of a snapshot")
    check_key(record, "$.model", announcement.model)
    return key, announcement
