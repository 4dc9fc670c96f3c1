"""Checkpoints as they are written to `progress`."""

from __future__ import annotations

import orjson

from streams.wire.checkpoints import Progress, TopicProgress, encode_progress


def test_a_progress_record_names_its_task_by_the_wire_field_lane() -> None:
    key, value = encode_progress(Progress(1, "shoppers-0", {"clicks": TopicProgress("id", 8, 7)}, 2))
    assert key == b"shoppers-0"
    assert orjson.loads(value) == {
        "v": 1,
        "lane": "shoppers-0",
        "topics": {"clicks": {"topic_id": "id", "partitions": 8, "position": 7}},
        "joined": 2,
    }
