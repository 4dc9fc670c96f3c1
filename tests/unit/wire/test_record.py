"""Records that only workers and trainers write: those of older versions are read, forged ones are refused."""

from __future__ import annotations

import pytest

from streams.errors import RecordError
from streams.wire.announcements import encode_announcement
from streams.wire.checkpoints import Forgotten, Progress, TopicProgress, encode_forgotten, encode_progress
from streams.wire.history_rows import PublishedHistory, encode_history
from streams.wire.pool_records import LoggedPool, Trigger
from tests.support.internal_records import DECODERS, FORGED, POOL_FEATURES, WRITTEN, Internal


@pytest.mark.parametrize("internal", WRITTEN, ids=lambda internal: internal.kind)
def test_records_of_an_older_version_are_read(internal: Internal) -> None:
    DECODERS[internal.kind](internal.record())


def test_what_older_versions_wrote_means_the_same() -> None:
    progress, forgotten, row, position, pairs, announcement, pool, history = [
        DECODERS[internal.kind](internal.record()) for internal in WRITTEN
    ]
    assert isinstance(progress, Progress)
    assert progress.task == "shoppers-3"
    assert progress.topics["shop-clicks"] == TopicProgress("JkH0bOoQTqyWqjC0hHj9Jg", 8, 812, 1773480413500)
    assert progress.joined == 15
    assert encode_progress(progress) == WRITTEN[0][2:]
    assert isinstance(forgotten, Forgotten)
    assert encode_forgotten(forgotten) == WRITTEN[1][2:]
    assert row.counts.tolist() == [[2, 0, 1], [1, 1, 0]]  # type: ignore[attr-defined]
    assert position.applied == {"clicks-3@JkH0": 812, "joins-3@q": 4}  # type: ignore[attr-defined]
    assert (pairs.last_offset, pairs.weight.tolist()) == (812, [0.5, 0.25])  # type: ignore[attr-defined]
    assert encode_announcement(announcement[1]) == WRITTEN[5][2:]  # type: ignore[index]
    assert isinstance(pool, LoggedPool)
    assert pool[:4] == ("dan", 1773480413.5, Trigger("shop-clicks", 3, 812), ["mug", "tea"])
    assert pool.kinds.tolist() == [1, 2]
    assert pool.features.tolist() == POOL_FEATURES.tolist()
    assert isinstance(history, PublishedHistory)
    assert history.row.history.cells["count"].tolist() == [2, 1]
    assert encode_history(*history) == WRITTEN[7].value


@pytest.mark.parametrize("name", FORGED)
def test_what_nobody_can_have_written_is_refused(name: str) -> None:
    forged = FORGED[name]
    with pytest.raises(RecordError, match=rf"^{forged.topic}-5@7: ") as refused:
        DECODERS[forged.kind](forged.record())
    assert len(str(refused.value)) < 1_000
