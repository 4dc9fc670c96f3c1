"""Which snapshot of a model is to be served: the records of the compacted topic `snapshots`, keyed by the model.

The newest record of a model counts, whatever its version: a rollback announces an older one.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.snapshot import MODEL_NAME, VERSION
from streams.errors import RecordError
from streams.wire.record import Record, where

Announcer = Literal["trainer", "rollback", "import"]


class Announcement(msgspec.Struct, frozen=True):
    """Serve this snapshot from now on."""

    v: Literal[1]
    model: Annotated[str, Meta(pattern=f"^{MODEL_NAME.pattern}")]
    version: Annotated[str, Meta(pattern=f"^{VERSION.pattern}")]
    url: str
    """Of the store it was put into, for people: whoever reads uses the store of his own settings."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Of the manifest, which has that of the weights."""
    at: float
    """Event time of the last event learnt, in epoch seconds."""
    by: Announcer
    """Who announced it."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Announcement).decode


def encode_announcement(announcement: Announcement) -> tuple[bytes, bytes]:
    """Key and value of a record of `snapshots`."""
    return announcement.model.encode(), _encode(announcement)


def decode_announcement(record: Record) -> tuple[str, Announcement | None]:
    """The model that a record of `snapshots` is about, and its announcement; None: there is none any more.

    Raises:
        RecordError: it is none of ours, or its key is not its model.
    """
    place = where(record)
    key = (record.key or b"").decode(errors="replace")
    if record.value is None:
        if not MODEL_NAME.match(key):
            raise RecordError(None, "keyed by a model, as the value is null", repr(key), place)
        return key, None
    try:
        announcement = _decode(record.value)
    except (ValueError, RecursionError) as error:
        raise RecordError.undecodable(place, "an announcement of a snapshot", error) from error
    if announcement.model != key:
        wrong = "$.model", f"the record's key, {key!r}", repr(announcement.model)
        raise RecordError(*wrong, where=place)
    return announcement.model, announcement
