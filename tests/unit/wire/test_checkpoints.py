"""Checkpoints as they are written to `progress`."""

from __future__ import annotations

import orjson

from streams.kafka.memory_log import StoredRecord
from streams.wire.checkpoints import Progress, TopicProgress, decode_progress, encode_progress


def test_a_progress_record_names_its_task_by_the_wire_field_lane() -> None:
    key, value = encode_progress(Progress(1, "shoppers-0", {"clicks": TopicProgress("id", 8, 7)}, 2))
    assert key == b"shoppers-0"
    assert orjson.loads(value) == {
        "v": 1,
        "lane": "shoppers-0",
        "topics": {"clicks": {"topic_id": "id", "partitions": 8, "position": 7}},
        "joined": 2,
    }


def test_positions_of_histories_merge_by_the_maximum_and_belong_to_their_topic() -> None:
    def progress(topic_id: str, histories: int) -> Progress:
        return Progress(1, "shoppers-0", {"purchases": TopicProgress(topic_id, 8, 70)}, histories=histories)

    assert progress("id", 5).merged(progress("id", 9)).histories == 9
    assert progress("id", 9).merged(progress("id", 5)).histories == 9
    assert progress("another", 5).merged(progress("id", 9)).histories == 5
    key, value = encode_progress(progress("id", 9))
    assert decode_progress(StoredRecord("progress", 0, 0, 0, key, value)).histories == 9
    key, old = encode_progress(progress("id", 0))
    assert b"histories" not in old  # as versions before wrote it
    assert decode_progress(StoredRecord("progress", 0, 0, 0, key, old)).histories == 0
