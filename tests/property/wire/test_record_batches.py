"""Record batches are, byte for byte, those of aiokafka's builder, and partitions those of kafka-python's hash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.producer import CODECS, EncodedMessages, Message, Packet, encoded
from streams.wire.partitioner import partition_of
from streams.wire.record_batches import (
    OVERHEAD_BYTES,
    PACKET_BYTES,
    PACKET_RECORDS,
    Block,
    BlockWriter,
    batch_header,
    decoded_records,
    encoded_records,
    joined_records,
)

NOW_MS = 1_795_000_000_123
Pair = tuple[bytes | None, bytes | None]

sizes = st.integers(0, 70) | st.sampled_from([63, 64, 8_191, 8_192, 20_000]) | st.integers(0, 9_000)
fields = st.none() | st.builds(lambda size, byte: bytes([byte]) * size, sizes, st.integers(0, 255)) | st.binary()
pairs = st.tuples(fields, fields)
packets = st.lists(pairs, min_size=1, max_size=12) | st.builds(
    lambda pair, number: [pair] * number, st.tuples(st.binary(max_size=3), st.binary(max_size=3)), st.just(150)
)


def built(messages: Sequence[Pair], codec: int = 0, builder_class: Any = DefaultRecordBatchBuilder) -> bytes:
    """What aiokafka makes of messages."""
    builder = builder_class(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0,
        batch_size=1 << 30,
    )  # fmt: skip
    for offset, (key, value) in enumerate(messages):
        assert builder.append(offset, NOW_MS, key, value, []) is not None
    return bytes(builder.build())


def encode(messages: Sequence[Pair]) -> bytes:
    return encoded_records([key for key, _ in messages], [value for _, value in messages])


@given(packets)
def test_a_batch_is_that_of_the_builder_and_can_be_read(messages: list[Pair]) -> None:
    records = encode(messages)
    assert batch_header(records, len(messages), NOW_MS) + records == built(messages)
    assert list(decoded_records(records)) == messages


@given(st.lists(packets, min_size=1, max_size=5))
def test_joined_blocks_are_the_block_of_all_their_records(blocks: list[list[Pair]]) -> None:
    everything = [pair for block in blocks for pair in block]
    assert joined_records(list(map(encode, blocks)), len(everything)) == encode(everything)


@given(st.lists(st.lists(pairs, min_size=1, max_size=4) | pairs, min_size=1, max_size=6))
def test_a_packet_of_blocks_and_messages_is_a_batch_of_all_in_order(parts: list[list[Pair] | Pair]) -> None:
    everything, mixed = list[Pair](), list[Message | EncodedMessages]()
    for part in parts:
        if isinstance(part, tuple):
            everything.append(part)
            mixed.append(Message(*part))
        else:
            everything += part
            size = sum(Message(*pair).size for pair in part)
            mixed.append(EncodedMessages(Block(encode(part), len(part), size), None))
    packet = Packet(mixed)
    assert [(message.key, message.value) for message in packet] == everything
    assert len(packet) == len(everything)
    assert sum(part.size for part in mixed) == sum(message.size for message in packet)
    assert packet.records() == encode(everything)


@pytest.mark.parametrize("codec", range(len(CODECS)))
@pytest.mark.parametrize("value", [b"", b"abc", b"kettle " * 1000, bytes(range(256))])
def test_a_batch_is_compressed_as_the_builder_does_if_that_makes_it_smaller(
    codec: int, value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW_MS / 1000)  # gzip tells it, too
    messages: list[Pair] = [(b"ann", value), (None, value), (b"bob", None)]
    # the builder in Cython also sends what compression makes longer by up to 60 bytes
    expected = built(messages, codec, _DefaultRecordBatchBuilderPy)
    assert b"".join(encoded(Packet([Message(*pair) for pair in messages]), codec)) == expected


keyed = st.lists(st.tuples(st.binary(max_size=20), st.just(b"") | st.binary(max_size=40)), max_size=40)


def grouped(writer: BlockWriter, records: Sequence[tuple[bytes, bytes]]) -> list[tuple[int, Block]]:
    ends = np.cumsum([len(value) for _, value in records], dtype=np.int64)
    text = np.frombuffer(b"".join(value for _, value in records), np.uint8).copy()
    key_ends = np.cumsum([0, *(len(key) for key, _ in records)])
    bounds = np.ascontiguousarray(np.stack([key_ends[:-1], key_ends[1:]], axis=1), np.int64)
    return writer.blocks(np.frombuffer(b"".join(key for key, _ in records), np.uint8), bounds, text, ends)


@given(st.lists(keyed, min_size=1, max_size=3), st.integers(1, 40))
def test_blocks_have_the_records_of_their_partitions_in_order(
    batches: list[list[tuple[bytes, bytes]]], partitions: int
) -> None:
    writer = BlockWriter(partitions)
    for records in batches:
        expected: defaultdict[int, list[Pair]] = defaultdict(list)
        found: defaultdict[int, list[Pair]] = defaultdict(list)
        for key, value in records:
            if value:
                expected[partition_of(key, partitions)].append((key, value))
        for partition, block in grouped(writer, records):
            found[partition] += (inside := list(decoded_records(block.records)))
            assert block.records == encode(inside)
            assert block.number == len(inside)
            assert block.size == sum(Message(key, value).size for key, value in inside)
        assert found == expected


def test_no_block_is_larger_than_a_packet_unless_its_only_record_is() -> None:
    writer = BlockWriter(1)
    third = bytes(PACKET_BYTES // 3 - 2 * OVERHEAD_BYTES)
    large = [(b"k", third)] * 4 + [(b"k", bytes(PACKET_BYTES))] + [(b"k", third)]
    assert [block.number for _, block in grouped(writer, large)] == [3, 1, 1, 1]
    many = [(b"k", b"v")] * (2 * PACKET_RECORDS + 1)
    assert [block.number for _, block in grouped(writer, many)] == [PACKET_RECORDS, PACKET_RECORDS, 1]
