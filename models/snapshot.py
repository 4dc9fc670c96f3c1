"""A snapshot: what a model has learnt, frozen, with everything needed to serve it and to continue learning.

The trainer makes it, a store keeps it, workers load it. Its version is a function of its contents: the same learning
gives the same version anywhere, two snapshots of one version are equal, and a change shows.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import SnapshotFormatError, SnapshotShapeError

MODEL_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")
"""Valid names of models: the name is a folder of the store and a key of a topic."""

VERSION = re.compile(r"\d{8}T\d{6}Z-\d{12,}-[0-9a-f]{8}\Z")
"""Valid versions."""

LATEST = 253_402_300_799.0
"""The last second of the year 9999 in epoch seconds: later times cannot be written."""

SLICE = 10_000
"""Ids of a vocabulary processed together: a million at once would block all threads of a worker for 100 ms."""

DTYPE_KINDS = "biuf"
"""Kinds of numbers an array may hold, as numpy calls them: truth values, integers, floating point."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True, slots=True)
class Snapshot:
    """One model's weights and what belongs to them. Immutable: arrays that could be written to are copied.

    The version is `<event time of the last event learnt>-<events learnt>-<digest of everything>`: versions of a model
    sort by what they have seen, also after a trainer has started over. It depends on no clock.

    >>> snapshot = Snapshot(model="lstm", code="lstm-1", arrays={"bias": np.zeros(2)}, vocabulary=("kettle", ""),
    ...                     config={}, positions={"clicks": {0: 812}}, learnt={"events": 812}, metrics={}, at=1e9)
    >>> snapshot.version
    '20010909T014640Z-000000000812-504705c9'
    >>> snapshot.require("lstm-1", {"bias": (3,)})
    Traceback (most recent call last):
    models.errors.SnapshotShapeError: lstm 20010909T014640Z-000000000812-504705c9: array `bias` must be (3,), got (2,)

    Raises:
        SnapshotShapeError: a field is not what it must be; the sentence names it.
    """

    model: str  # which model, such as `sequence`
    code: str  # which layout of the arrays, such as `lstm-1`
    arrays: Mapping[str, NDArray[Any]]
    """The weights by name: truth values, integers or floating point, all finite. Read-only, C order, native bytes."""
    vocabulary: tuple[str, ...]  # item ids by slot, each once; empty where a slot is free
    config: Mapping[str, Any]  # of the model, in plain JSON values; lists are kept as tuples
    positions: Mapping[str, Mapping[int, int]]  # offset of the next record to learn from, by topic and partition
    learnt: Mapping[str, int | float]  # how much went in: at least `events`
    metrics: Mapping[str, int | float]  # how good it was when it was made, by name; finite
    at: float  # event time of the last event learnt, in epoch seconds
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    """Id of each topic of `positions`, from the broker: offsets in another topic of the name mean other events."""
    version: str = field(init=False)

    def __post_init__(self) -> None:
        where = f"a snapshot of {self.model!r}"
        if not (isinstance(self.model, str) and MODEL_NAME.match(self.model)):
            raise SnapshotShapeError.of(where, "model", "small letters, digits and dashes", repr(self.model))
        if not (isinstance(self.code, str) and self.code):
            raise SnapshotShapeError.of(where, "code", "a name", repr(self.code))
        events = self.learnt.get("events")
        if isinstance(events, bool) or not isinstance(events, int | np.integer) or events < 0:
            raise SnapshotShapeError.of(where, "learnt", "numbers, with `events` an integer >= 0", f"events {events!r}")
        if not 0 <= self.at <= LATEST:
            raise SnapshotShapeError.of(where, "at", "epoch seconds from 1970 to 9999", repr(self.at))
        frozen = {
            "arrays": MappingProxyType({name: _frozen_array(where, name, a) for name, a in self.arrays.items()}),
            "vocabulary": _checked_vocabulary(where, self.vocabulary),
            "config": _frozen_json(where, "config", dict(self.config)),
            "positions": _frozen_positions(where, self.positions),
            "learnt": _frozen_numbers(where, "learnt", self.learnt),
            "metrics": _frozen_numbers(where, "metrics", self.metrics),
            "at": float(self.at),
            "topic_ids": MappingProxyType({str(name): str(topic_id) for name, topic_id in self.topic_ids.items()}),
        }
        for name, value in frozen.items():
            object.__setattr__(self, name, value)
        second = datetime.fromtimestamp(int(self.at), UTC).strftime("%Y%m%dT%H%M%SZ")
        object.__setattr__(self, "version", f"{second}-{events:012d}-{self._digest()[:8]}")

    def __repr__(self) -> str:
        return f"<{self.model} {self.version}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Snapshot):
            return NotImplemented
        return (self.model, self.version) == (other.model, other.version)

    def __hash__(self) -> int:
        return hash((self.model, self.version))

    def require(self, code: str, shapes: Mapping[str, Sequence[int | None]]) -> None:
        """Check that a model can use this: made by its code, with exactly the arrays of these shapes; None: any length.

        Raises:
            SnapshotFormatError: it was made by other code.
            SnapshotShapeError: an array is missing, too many, or of another shape.
        """
        where = f"{self.model} {self.version}"
        if self.code != code:
            raise SnapshotFormatError.of(where, f"code `{code}`", f"code `{self.code}`")
        if set(shapes) != set(self.arrays):
            wanted, came = ", ".join(sorted(shapes)), ", ".join(sorted(self.arrays))
            raise SnapshotShapeError.of(where, "arrays", wanted or "none", came or "none")
        for name, wanted_shape in shapes.items():
            shape = self.arrays[name].shape
            if len(shape) != len(wanted_shape) or any(
                want not in (None, have) for want, have in zip(wanted_shape, shape, strict=True)
            ):
                raise SnapshotShapeError.array(where, name, str(tuple(wanted_shape)), str(shape))

    def described(self) -> dict[str, Any]:
        """Everything but arrays, vocabulary and version, in plain JSON values (partitions as text)."""
        return {
            "model": self.model,
            "code": self.code,
            "at": self.at,
            "learnt": dict(self.learnt),
            "metrics": dict(self.metrics),
            "positions": {topic: {str(p): offset for p, offset in of.items()} for topic, of in self.positions.items()},
            "topic_ids": dict(self.topic_ids),
            "config": _plain(self.config),
        }

    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps(self.described(), sort_keys=True).encode())
        for ids in slices(self.vocabulary):
            digest.update(json.dumps(ids).encode())
        for name, array in sorted(self.arrays.items()):
            digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def _frozen_array(where: str, name: str, array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array)
    if not name or array.dtype.kind not in DTYPE_KINDS or array.dtype.itemsize > 8:
        raise SnapshotShapeError.array(where, name, "named, and of truth values or numbers", str(array.dtype))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        n = int(array.size - np.isfinite(array).sum())
        raise SnapshotShapeError.array(where, name, "finite", f"{n} of {array.size} values that are not")
    if array.flags.writeable or not array.flags.c_contiguous or not array.dtype.isnative:
        array = np.array(array, array.dtype.newbyteorder("="), order="C", copy=True)
        array.setflags(write=False)
    return array


def _checked_vocabulary(where: str, vocabulary: Sequence[str]) -> tuple[str, ...]:
    vocabulary = tuple(vocabulary)
    seen, given = set[str](), 0
    for ids in slices(vocabulary):
        if not all(isinstance(item_id, str) for item_id in ids):
            raise SnapshotShapeError.of(where, "vocabulary", "ids, empty for a free slot", "something else among them")
        named = list(filter(None, ids))
        given += len(named)
        seen.update(named)
    if len(seen) < given:
        raise SnapshotShapeError.of(where, "vocabulary", "a slot an id", f"{given - len(seen)} ids given again")
    return vocabulary


def slices(vocabulary: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The ids of a vocabulary, `SLICE` at a time."""
    return (vocabulary[first : first + SLICE] for first in range(0, len(vocabulary), SLICE))


def _frozen_json(where: str, path: str, value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int() if -(2**63) <= value < 2**63:  # what every reader of JSON can hold
            return value
        case float() if math.isfinite(value):
            return float(value)
        case Mapping() if all(isinstance(name, str) for name in value):
            return MappingProxyType({name: _frozen_json(where, f"{path}.{name}", item) for name, item in value.items()})
        case list() | tuple():
            return tuple(_frozen_json(where, f"{path}[{n}]", item) for n, item in enumerate(value))
    raise SnapshotShapeError.of(where, path, "a plain JSON value", repr(value))


def _plain(value: Any) -> Any:
    """The inverse of `_frozen_json`."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _frozen_numbers(where: str, path: str, numbers: Mapping[str, int | float]) -> Mapping[str, int | float]:
    frozen: dict[str, int | float] = {}
    for name, number in numbers.items():
        whole, broken = isinstance(number, int | np.integer), isinstance(number, float | np.floating)
        if isinstance(number, bool) or not (whole or (broken and math.isfinite(number))):
            raise SnapshotShapeError.of(where, f"{path}.{name}", "a finite number", repr(number))
        frozen[name] = int(number) if whole else float(number)
    return MappingProxyType(frozen)


def _frozen_positions(where: str, positions: Mapping[str, Mapping[int, int]]) -> Mapping[str, Mapping[int, int]]:
    frozen: dict[str, Mapping[int, int]] = {}
    for topic, offsets in positions.items():
        for partition, offset in offsets.items():
            if partition < 0 or offset < 0:
                path = f"positions.{topic}.{partition}"
                raise SnapshotShapeError.of(where, path, "an offset of a partition, >= 0", repr(offset))
        frozen[topic] = MappingProxyType({int(p): int(offset) for p, offset in offsets.items()})
    return MappingProxyType(frozen)
