"""Announcements go out and come back, and what is none is refused."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from streams.errors import RecordError
from streams.wire.announcements import Announcement, decode_announcement, encode_announcement
from streams.wire.record import Header

VERSION = "20260314T092653Z-000000000822-0a1b2c3d"
ANNOUNCEMENT = Announcement(1, "sequence", VERSION, "s3://shop/snapshots", "0f" * 32, 1_773_480_413.5, "trainer")


@dataclass
class Rec:
    key: bytes | None
    value: bytes | None
    topic: str = "snapshots"
    partition: int = 3
    offset: int = 7
    timestamp: int = 0
    headers: tuple[Header, ...] = ()


def test_an_announcement_comes_back_under_its_model() -> None:
    key, value = encode_announcement(ANNOUNCEMENT)
    assert key == b"sequence"
    assert decode_announcement(Rec(key, value)) == ("sequence", ANNOUNCEMENT)


def test_its_form_stays_as_it_is() -> None:
    """Workers of other versions read it."""
    assert encode_announcement(ANNOUNCEMENT)[1] == (
        b'{"v":1,"model":"sequence","version":"20260314T092653Z-000000000822-0a1b2c3d","url":"s3://shop/snapshots",'
        b'"sha256":"' + b"0f" * 32 + b'","at":1773480413.5,"by":"trainer"}'
    )


def test_a_null_value_takes_it_back() -> None:
    assert decode_announcement(Rec(b"sequence", None)) == ("sequence", None)
    for key in (None, b"", b"\xff", b"../x"):
        with pytest.raises(RecordError, match="snapshots-3@7"):
            decode_announcement(Rec(key, None))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"model": "../sequence"},
        {"version": "../../etc"},
        {"version": f"x/{VERSION}"},
        {"version": f"{VERSION}/.."},
        {"version": f"{VERSION}\n"},
        {"sha256": "0f"},
        {"sha256": "0F" * 32},
        {"at": "now"},
        {"by": "somebody"},
    ],
    ids=str,
)
def test_what_is_no_announcement_is_refused(change: dict[str, object]) -> None:
    value = msgspec.json.encode(msgspec.to_builtins(ANNOUNCEMENT) | change)
    with pytest.raises(RecordError, match="snapshots-3@7"):
        decode_announcement(Rec(b"sequence", value))


def test_the_key_must_be_the_model() -> None:
    with pytest.raises(RecordError, match=r"field `\$.model` must be the record's key, b'factors', got 'sequence'"):
        decode_announcement(Rec(b"factors", encode_announcement(ANNOUNCEMENT)[1]))


@pytest.mark.parametrize("value", [b"", b"\xff", b"null", b"[" * 100_000, b'{"v":1}'])
def test_what_is_nothing_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError):
        decode_announcement(Rec(b"sequence", value))
