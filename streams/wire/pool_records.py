"""Records of `pools`, keyed by shopper: the candidates of one query with their features, suggested or not.

Workers write the pools of a sample of their lists, and trainers learn the order of lists from them. JSON objects with
`v` 1; kinds and features are base64 of their little-endian bytes. Features are float16: they are logarithms and flags,
of which three digits are enough.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from models.ranking.candidate_pool import MOST
from models.ranking.features import FEATURES, MAX_FEATURE, WIDTH
from models.shop.kinds import CROSS_SELL, UPSELL
from streams.wire.partitioner import partition_of
from streams.wire.record import (
    MAX_PARTITIONS,
    Offset,
    Record,
    Seconds,
    SomeId,
    TopicName,
    check_at,
    check_key,
    decoded,
    refusal,
)


DESCRIBED_BY = hashlib.blake2b(", ".join(FEATURES).encode(), digest_size=8).hexdigest()
"""Tells the features of this version from others. Pools with other features are not learnt from."""


class Trigger(NamedTuple):
    """The event that was answered."""

    topic: str
    """Full name."""
    partition: int
    offset: int

    @property
    def suggestion_id(self) -> str:
        """Id of the list that answers it."""
        return f"{self.topic}-{self.partition}-{self.offset}"


class LoggedPool(NamedTuple):
    """The pool of one list."""

    user_id: str
    at: float
    """Event time of the trigger, epoch seconds."""
    trigger: Trigger
    item_ids: list[str]
    """n distinct ids."""
    kinds: NDArray[np.int8]
    """(n,) `models.shop.kinds.CROSS_SELL` or `UPSELL`."""
    features: NDArray[np.float16]
    """(n, `models.ranking.features.WIDTH`), finite."""


class _PoolRecord(msgspec.Struct, gc=False):
    v: Literal[1]
    suggestion_id: Annotated[str, Meta(max_length=512)]
    user_id: SomeId
    at: Seconds
    topic: TopicName
    partition: Annotated[int, Meta(ge=0, lt=MAX_PARTITIONS)]
    offset: Offset
    described_by: Annotated[str, Meta(max_length=64)]
    items: Annotated[list[SomeId], Meta(min_length=1, max_length=MOST)]
    kinds: bytes  # (n,) int8
    features: bytes  # (n, WIDTH) float16, row by row


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_PoolRecord).decode


def encode_pool(
    user_id: str,
    at: float,
    trigger: Trigger,
    item_ids: list[str],
    kinds: NDArray[np.int8],
    features: NDArray[np.floating[Any]],
) -> tuple[bytes, bytes]:
    """Key and value of a record of `pools`; arguments as of [`LoggedPool`][]."""
    value = _encode(
        _PoolRecord(
            v=1,
            suggestion_id=trigger.suggestion_id,
            user_id=user_id,
            at=at,
            topic=trigger.topic,
            partition=trigger.partition,
            offset=trigger.offset,
            described_by=DESCRIBED_BY,
            items=item_ids,
            kinds=kinds.astype("i1").tobytes(),
            features=np.clip(features, -MAX_FEATURE, MAX_FEATURE).astype("<f2").tobytes(),
        )
    )
    return user_id.encode(), value


def decode_pool(record: Record, partitions: int) -> LoggedPool:
    """Decode a record of `pools`, a topic with so many partitions.

    Raises:
        RecordError: it is none, it is not where its key belongs, or its features are not those of this version.
    """
    wire = decoded(_decode, record, "a pool of candidates")
    check_key(record, "$.user_id", wire.user_id)
    own = partition_of(wire.user_id.encode(), partitions)
    if record.partition != own:
        raise refusal(record, None, f"in partition {own}, as its key says", f"in {record.partition}")
    check_at(record, wire.at, 0.0)
    trigger = Trigger(wire.topic, wire.partition, wire.offset)
    if wire.suggestion_id != trigger.suggestion_id:
        raise refusal(record, "$.suggestion_id", f"the trigger's, {trigger.suggestion_id!r:.300}", "another")
    if wire.described_by != DESCRIBED_BY:
        raise refusal(record, "$.described_by", f"the features of this version, {DESCRIBED_BY}", "others")
    n = len(wire.items)
    if len(set(wire.items)) != n:
        raise refusal(record, "$.items", "distinct ids", "one of them twice")
    kinds = np.frombuffer(wire.kinds, np.int8)
    if len(kinds) != n or not np.isin(kinds, (CROSS_SELL, UPSELL)).all():
        raise refusal(record, "$.kinds", f"{CROSS_SELL} or {UPSELL} for each item", "others")
    if (size := len(wire.features)) != 2 * n * WIDTH:
        raise refusal(record, "$.features", f"{WIDTH} features of two bytes for each item", f"{size} bytes")
    features = np.frombuffer(wire.features, "<f2").reshape(n, WIDTH).astype(np.float16)
    if not (np.abs(features) <= MAX_FEATURE).all():  # False for NaN
        raise refusal(record, "$.features", f"numbers from -{MAX_FEATURE:g} to {MAX_FEATURE:g}", "others")
    return LoggedPool(wire.user_id, wire.at, trigger, wire.items, kinds, features)
