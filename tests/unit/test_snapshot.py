"""A snapshot is what it says, stays so, and its version is a function of what is in it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.snapshot import MODEL_NAME, VERSION
from tests.support.kettle_model import kettle_snapshot as snapshot

ARRAYS = dict(snapshot().arrays)


def test_the_same_learning_has_the_same_version() -> None:
    assert snapshot() == snapshot()
    assert hash(snapshot()) == hash(snapshot())
    assert VERSION.match(snapshot().version)
    assert snapshot().version.startswith("20260314T093342Z-000000000822-")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "factors"},
        {"code": "lstm-2"},
        {"arrays": ARRAYS | {"items": np.nextafter(ARRAYS["items"], np.float32(1e9))}},
        {"arrays": ARRAYS | {"items": ARRAYS["items"].reshape(2, 3)}},
        {"arrays": ARRAYS | {"bias": ARRAYS["bias"].astype(np.uint8)}},
        {"arrays": {name.upper(): array for name, array in ARRAYS.items()}},
        {"vocabulary": ("kettle", "mug/é", "")},
        {"config": {"units": 2, "dropout": 0.25, "sizes": [2, 4], "name": None}},
        {"positions": {"clicks": {0: 813, 11: 7}, "purchases": {0: 3}}},
        {"learnt": {"events": 822, "hours": 0.3}},
        {"metrics": {"hr@20": 0.42, "n": 7}},
        {"at": 1_773_480_822.6},
        {"topic_ids": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_has_another_version(change: dict[str, Any]) -> None:
    assert snapshot(**change) != snapshot()
    assert snapshot(**change).version != snapshot().version


def test_versions_sort_by_event_time_then_by_events() -> None:
    newer = snapshot(at=1_773_480_900.0, learnt={"events": 5})
    later = snapshot(learnt={"events": 10_000_000})
    assert sorted([newer, later, snapshot()], key=lambda one: one.version) == [snapshot(), later, newer]


def test_what_the_trainer_changes_afterwards_changes_nothing() -> None:
    weights, config = np.ones((3, 2), np.float32), {"sizes": [1, 2]}
    one = snapshot(arrays={"items": weights}, config=config)
    version = one.version
    weights[:] = 7
    config["sizes"].append(3)
    assert one.arrays["items"].tolist() == [[1, 1]] * 3
    assert one.config["sizes"] == (1, 2)
    assert dataclasses.replace(one).version == version


def test_nothing_of_it_can_be_written_to() -> None:
    one = snapshot()
    with pytest.raises(ValueError, match="read-only"):
        one.arrays["items"][0, 0] = 1
    for mapping in (one.arrays, one.config, one.positions, one.positions["clicks"], one.learnt, one.metrics):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]


def test_read_only_arrays_are_taken_as_they_are() -> None:
    weights = np.ones((3, 2), np.float32)
    weights.setflags(write=False)
    assert snapshot(arrays={"items": weights}).arrays["items"] is weights


def test_arrays_of_any_layout_have_one_version() -> None:
    items = np.arange(6, dtype=np.float32).reshape(3, 2)
    variants = [items, np.asfortranarray(items), items.astype(">f4"), np.repeat(items, 2, axis=1)[:, ::2]]
    assert len({snapshot(arrays={"items": one, "bias": np.array(7)}).version for one in variants}) == 1
    assert snapshot(arrays={"bias": np.array(7), "empty": np.zeros((0, 2))}).arrays["bias"].shape == ()


def test_numpy_numbers_are_numbers() -> None:
    one = snapshot(learnt={"events": np.int64(822), "hours": np.float64(0.1 + 0.2)}, metrics={"hr@20": 0.41, "n": 7})
    assert one == snapshot()
    assert type(one.learnt["events"]) is int


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "../sequence"}, "`model` must be small letters, digits and dashes, got '../sequence'"),
        ({"model": ""}, "`model` must be"),
        ({"code": ""}, "`code` must be a name"),
        ({"learnt": {"steps": 3}}, "`learnt` must be numbers, with `events` an integer >= 0, got events None"),
        ({"learnt": {"events": -1}}, "`learnt` must be"),
        ({"learnt": {"events": True}}, "`learnt` must be"),
        ({"learnt": {"events": 1, "steps": float("nan")}}, "`learnt.steps` must be a finite number, got nan"),
        ({"metrics": {"mrr@20": float("inf")}}, "`metrics.mrr@20` must be a finite number, got inf"),
        ({"metrics": {"mrr@20": "0.1"}}, "`metrics.mrr@20` must be a finite number, got '0.1'"),
        ({"at": -1.0}, "`at` must be epoch seconds"),
        ({"at": float("nan")}, "`at` must be epoch seconds"),
        ({"vocabulary": ("mug", "", "mug", "")}, "`vocabulary` must be a slot an id, got 1 ids given again"),
        ({"vocabulary": ("mug", 7)}, "`vocabulary` must be ids"),
        ({"config": {"a": {"b": [1, object]}}}, r"`config.a.b\[1\]` must be a plain JSON value"),
        ({"config": {"a": float("nan")}}, "`config.a` must be a plain JSON value"),
        ({"config": {"seed": 2**63}}, "`config.seed` must be a plain JSON value"),
        ({"config": {1: 2}}, "`config` must be a plain JSON value"),
        ({"positions": {"clicks": {0: -1}}}, "`positions.clicks.0` must be an offset of a partition, >= 0, got -1"),
        ({"arrays": {"w": np.array([1.0, np.nan])}}, "array `w` must be finite, got 1 of 2 values that are not"),
        ({"arrays": {"w": np.array(["a"])}}, "array `w` must be named, and of truth values or numbers, got <U1"),
        ({"arrays": {"w": np.array([object])}}, "array `w` must be"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SnapshotShapeError, match=f"a snapshot of '.*': {says}"):
        snapshot(**change)


def test_a_model_says_what_it_takes() -> None:
    one = snapshot()
    shapes: dict[str, tuple[int | None, ...]] = {"items": (None, 2), "bias": (3,), "scale": ()}
    one.require("lstm-1", shapes)
    with pytest.raises(SnapshotFormatError, match=f"sequence {one.version} has another form: expected code `lstm-2`"):
        one.require("lstm-2", shapes)
    with pytest.raises(SnapshotShapeError, match=r"array `items` must be \(None, 4\), got \(3, 2\)"):
        one.require("lstm-1", shapes | {"items": (None, 4)})
    with pytest.raises(SnapshotShapeError, match=r"array `bias` must be \(3, 1\), got \(3,\)"):
        one.require("lstm-1", shapes | {"bias": (3, 1)})
    with pytest.raises(SnapshotShapeError, match="`arrays` must be bias, got bias, items, scale"):
        one.require("lstm-1", {"bias": (3,)})


def test_it_is_printed_by_its_name() -> None:
    """Not with a million ids."""
    assert repr(snapshot()) == f"<sequence {snapshot().version}>"


def test_names_that_lead_out_of_a_folder_are_none() -> None:
    for name in ("..", ".", "a/b", "a\n", "A", "-a", "/a", "a" * 65):
        assert not MODEL_NAME.match(name)
        assert not VERSION.match(name)
