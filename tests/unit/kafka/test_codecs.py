"""Compression codecs: what producers compress is read, what grows too large is not, and a missing library is named."""

from __future__ import annotations

import gzip
import os
import struct
from types import ModuleType

import aiokafka.codec
import kafka.codec
import pytest

from streams.errors import CodecError
from streams.kafka import codecs
from streams.kafka.blocking import TopicReader
from streams.settings import Settings

CLIENTS: dict[str, ModuleType] = {"aiokafka": aiokafka.codec, "kafka-python": kafka.codec}

VALUES = {
    "nothing": b"",
    "a byte": b"x",
    "random bytes": os.urandom(100_000),
    "JSON": b'{"v": 1, "user_id": "u1"}' * 60_000,
}


@pytest.fixture(autouse=True)
def _limited() -> None:
    codecs.limit_decompression()


@pytest.mark.parametrize("value", list(VALUES))
@pytest.mark.parametrize("client", list(CLIENTS))
@pytest.mark.parametrize("codec", codecs.CODECS)
def test_what_either_client_compresses_is_read_by_both(codec: str, client: str, value: str) -> None:
    compressed = getattr(CLIENTS[client], f"{codec}_encode")(VALUES[value])
    for reader in CLIENTS.values():
        assert getattr(reader, f"{codec}_decode")(compressed) == VALUES[value]
    assert codecs.BOUNDED[codec](memoryview(compressed)) == VALUES[value]


def test_several_members_and_blocks_are_read() -> None:
    assert codecs.BOUNDED["gzip"](gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    zstd = aiokafka.codec.zstd_encode
    assert codecs.BOUNDED["zstd"](zstd(b"a") + zstd(b"b")) == b"ab"
    xerial = aiokafka.codec.snappy_encode(b"ab" * 40_000)
    assert codecs.BOUNDED["snappy"](xerial) == b"ab" * 40_000
    little_endian = xerial[:8] + struct.pack("<ii", 1, 1) + xerial[16:]  # as Redpanda writes the version
    assert codecs.BOUNDED["snappy"](little_endian) == b"ab" * 40_000
    assert codecs.BOUNDED["snappy"](aiokafka.codec.snappy_encode(b"raw", xerial_compatible=False)) == b"raw"


@pytest.mark.parametrize("codec", codecs.CODECS)
def test_up_to_the_bound_is_decompressed_and_no_more(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.codecs.MAX_BATCH_BYTES", 1 << 20)
    encode = getattr(aiokafka.codec, f"{codec}_encode")
    assert len(codecs.BOUNDED[codec](encode(bytes(1 << 20)))) == 1 << 20
    with pytest.raises(codecs.DecompressionError, match="more than 1,048,576 bytes"):
        codecs.BOUNDED[codec](encode(bytes((1 << 20) + 1)))


@pytest.mark.parametrize("codec", codecs.CODECS)
def test_garbage_is_one_kind_of_error(codec: str) -> None:
    compressed = getattr(aiokafka.codec, f"{codec}_encode")(b"crosscurrent" * 100)
    for wrong in (b"garbage" + compressed, compressed[: len(compressed) // 2], b"\xff" * 40):
        with pytest.raises(codecs.DecompressionError):
            codecs.BOUNDED[codec](wrong)


def test_bombs_cost_a_bounded_amount_of_time_and_memory() -> None:
    """65 MB of zeros in each codec; `tally` has what was decompressed at most."""
    before = codecs.tally.total
    for codec in codecs.CODECS:
        bomb = getattr(aiokafka.codec, f"{codec}_encode")(bytes(codecs.MAX_BATCH_BYTES + 1))
        with pytest.raises(codecs.DecompressionError, match="more than 67,108,864 bytes"):
            codecs.BOUNDED[codec](bomb)
    assert codecs.tally.total - before == 4 * codecs.MAX_BATCH_BYTES


def test_the_libraries_are_here() -> None:
    codecs.check_codecs()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("aiokafka.codec.cramjam", r"compressed with snappy .* aiokafka needs .*\(Snappy codec is not available\)"),
        ("kafka.codec.snappy", r"compressed with snappy .* kafka-python needs"),
        ("kafka.codec.lz4_encode", r"compressed with lz4 .* kafka-python needs"),
        ("kafka.codec.zstd", r"compressed with zstd .* kafka-python needs .* install the packages cramjam, lz4"),
    ],
)
def test_a_missing_library_is_named(missing: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, None)
    with pytest.raises(CodecError, match=words):
        codecs.check_codecs()


def test_a_library_that_returns_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka.codec.lz4_decode", lambda _: b"")
    with pytest.raises(CodecError, match="it does not return what was compressed"):
        codecs.check_codecs()


def test_a_reader_of_topics_checks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka.codec.zstd", None)
    with pytest.raises(CodecError):
        TopicReader(Settings(bootstrap_servers="127.0.0.1:1"), ["clicks"])
