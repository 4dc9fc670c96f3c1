"""Whatever bytes an internal topic brings: a record of ours, or a RecordError. Nothing else, ever."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import RecordError
from streams.kafka.global_tables import TABLE_TOPICS, GlobalTables
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.topics import Identity
from tests.support.internal_records import DECODERS, FORGED, WRITTEN, Internal

internals = st.sampled_from(WRITTEN)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["AAAA", "AAAAAAAA+H8=", "clicks-3", "clicks-3@t", 10**40, 2**63, 1e308])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def changed(draw: st.DrawFn) -> Internal:
    """A record of ours with some fields or bytes replaced."""
    internal = draw(internals)
    if draw(st.booleans()):
        fields: dict[str, Any] = orjson.loads(internal.value or b"")
        names = st.sampled_from(sorted(fields)) | st.text(max_size=5)
        return internal._replace(value=msgspec.json.encode(fields | draw(st.dictionaries(names, values, max_size=3))))
    value = bytearray(internal.value or b"")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(value)))
        value[place : place + draw(st.integers(0, 6))] = draw(st.binary(max_size=6))
    key = draw(st.just(internal.key) | st.none() | st.binary(max_size=12))
    return internal._replace(key=key, value=bytes(value))


@given(changed())
def test_a_changed_record_is_read_or_refused(internal: Internal) -> None:
    try:
        DECODERS[internal.kind](internal.record())
    except RecordError as error:
        assert str(error).startswith(f"{internal.topic}-5@7: ")
        assert len(str(error)) < 1_000


@given(st.lists(changed() | st.sampled_from(list(FORGED.values())), max_size=8))
def test_global_tables_take_anything(records: list[Internal]) -> None:
    identities = {topic: Identity("id", 8) for topic in TABLE_TOPICS}
    tables = GlobalTables(Settings(), Metrics(), identities=identities)
    for internal in records:
        if internal.topic in TABLE_TOPICS:
            tables.apply(internal.record())
