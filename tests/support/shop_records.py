"""Records of the shop's topics as a consumer hands them over, and the decoder of each topic."""

from __future__ import annotations

from dataclasses import dataclass

from streams.wire.codec import decode_catalog, decode_click, decode_feedback, decode_profile, decode_purchase
from streams.wire.record import Header

APPENDED_MS = 1_714_564_800_000  # 2024-05-01T12:00:00Z
DECODERS = {
    "clicks": decode_click,
    "purchases": decode_purchase,
    "catalog": decode_catalog,
    "profiles": decode_profile,
    "feedback": decode_feedback,
}


@dataclass
class Rec:
    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = 3
    offset: int = 81245
    timestamp: int = APPENDED_MS
    headers: tuple[Header, ...] = ()
