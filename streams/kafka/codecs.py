"""Kafka's compression codecs: checked at the start, and bounded in what they decompress to.

Both clients decompress a whole batch at once, whatever its size: 2 kB of zstd can become 65 MB.
[`limit_decompression`][] replaces their functions by bounded ones. A batch beyond the bound fails like a corrupt one,
and is handled by `streams.kafka.unreadable`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache
from gzip import GzipFile
from types import ModuleType
from typing import Any

import aiokafka.codec
import aiokafka.record.default_records
import aiokafka.record.legacy_records
import kafka.codec
import kafka.record.default_records
import kafka.record.legacy_records

from streams.errors import CodecError

CODECS = ("gzip", "snappy", "lz4", "zstd")

MAX_BATCH_BYTES = 64 << 20
"""Of a decompressed batch. JSON shrinks to a twentieth at best, and a batch to be sent has a megabyte at most."""

_SAMPLE = b"crosscurrent " * 10

_CLIENTS: Sequence[tuple[str, ModuleType]] = (("aiokafka", aiokafka.codec), ("kafka-python", kafka.codec))

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16

_OUTPUT_FULL = ("whole buffer", "smaller than required")  # cramjam's words for an output that is too small

# modules that look the functions up by their names
_MODULES = [
    aiokafka.codec,
    aiokafka.record.default_records,
    aiokafka.record.legacy_records,
    kafka.codec,
    kafka.record.default_records,
    kafka.record.legacy_records,
]
try:
    from aiokafka.record._crecords import default_records, legacy_records
except ImportError:
    pass  # a platform without a build of aiokafka's parsers in C
else:
    _MODULES += [default_records, legacy_records]


class DecompressionError(ValueError):
    """A batch that is corrupt, or too large when decompressed."""


class Tally:
    """Counts the bytes that this process has decompressed."""

    total = 0


tally = Tally()
"""Of all batches so far."""


def check_codecs() -> None:
    """Check that both clients can read what producers compress; takes a millisecond.

    Raises:
        CodecError: a package is missing or broken.
    """
    for name in CODECS:
        for client, module in _CLIENTS:
            try:
                encode, decode = getattr(module, f"{name}_encode"), getattr(module, f"{name}_decode")
                decoded = bytes(decode(bytes(encode(_SAMPLE))))
            except Exception as error:  # NotImplementedError, a call of None, anything a broken library raises
                raise CodecError.broken(name, client, str(error) or type(error).__name__) from error
            if decoded != _SAMPLE:
                raise CodecError.broken(name, client, "it does not return what was compressed")


@cache
def limit_decompression() -> None:
    """Let both clients decompress at most `MAX_BATCH_BYTES` of a batch; beyond, they raise [`DecompressionError`][]."""
    for module in _MODULES:
        for name, decode in BOUNDED.items():
            if hasattr(module, f"{name}_decode"):
                setattr(module, f"{name}_decode", decode)


def _bounded(decompress: Callable[[bytes], bytes]) -> Callable[[Any], bytes]:
    def decode(payload: Any) -> bytes:
        try:
            decompressed = decompress(bytes(payload))
        except Exception as error:  # EOFError, OSError, zlib's, cramjam's and struct's own errors
            tally.total += MAX_BATCH_BYTES  # as much as it may have cost
            raise DecompressionError(str(error) or type(error).__name__) from error
        tally.total += len(decompressed)
        return decompressed

    return decode


def _too_large() -> DecompressionError:
    return DecompressionError(f"more than {MAX_BATCH_BYTES:,} bytes")


def _gzip(data: bytes) -> bytes:
    with GzipFile(fileobj=io.BytesIO(data)) as file:
        decompressed = file.read(MAX_BATCH_BYTES + 1)
    if len(decompressed) > MAX_BATCH_BYTES:
        raise _too_large()
    return decompressed


def _into_buffer(decompress_into: Any, data: bytes) -> bytes:
    """Decompress into buffers of growing size: cramjam tells no sizes, and never truncates."""
    size = min(MAX_BATCH_BYTES, 16 * len(data) + 4096)
    while True:
        buffer = bytearray(size)
        try:
            return bytes(memoryview(buffer)[: decompress_into(data, buffer)])
        except aiokafka.codec.cramjam.DecompressionError as error:
            if not any(words in str(error) for words in _OUTPUT_FULL):
                raise
            if size == MAX_BATCH_BYTES:
                raise _too_large() from error
            size = min(MAX_BATCH_BYTES, 8 * size)


def _lz4(data: bytes) -> bytes:
    return _into_buffer(aiokafka.codec.cramjam.lz4.decompress_into, data)


def _zstd(data: bytes) -> bytes:
    return _into_buffer(aiokafka.codec.cramjam.zstd.decompress_into, data)


def _snappy(data: bytes) -> bytes:
    """One raw block, or the blocks of a stream as Java clients write it."""
    decompress_into = aiokafka.codec.cramjam.snappy.decompress_raw_into
    if not data.startswith(_XERIAL_MAGIC):
        return _into_buffer(decompress_into, data)
    decompressed, at = bytearray(), _XERIAL_HEADER_BYTES
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        decompressed += _into_buffer(decompress_into, data[start:at])
        if len(decompressed) > MAX_BATCH_BYTES:
            raise _too_large()
    return bytes(decompressed)


BOUNDED: dict[str, Callable[[Any], bytes]] = {
    "gzip": _bounded(_gzip),
    "snappy": _bounded(_snappy),
    "lz4": _bounded(_lz4),
    "zstd": _bounded(_zstd),
}
"""By codec: decompresses a batch, at most `MAX_BATCH_BYTES`."""
