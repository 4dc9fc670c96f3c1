"""`crosscurrent models` on a broker and a store: what is listed, announced, carried and gone back to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.ranking.ranker import CODE, Ranker, RankerConfig
from models.ranking.ranker import MODEL as RANKER
from models.shop.policy import Policy
from streams.cli.entry import app
from streams.errors import SnapshotCorruptError, SnapshotMissingError
from streams.kafka.blocking import Sender
from streams.settings import Settings
from streams.snapshots.archive import write_archive
from streams.snapshots.format import MANIFEST, WEIGHTS
from streams.snapshots.registry import SnapshotRegistry
from streams.snapshots.store import SnapshotStore
from streams.wire.announcements import Announcement
from tests.support.kettle_model import kettle_snapshot

Models = Callable[..., Result]


@pytest.fixture
def settings(created_topics: Settings, tmp_path: Path) -> Settings:
    return created_topics.model_copy(update={"snapshot_store": str(tmp_path / "store")})


@pytest.fixture
def store(settings: Settings) -> SnapshotStore:
    return SnapshotStore.of(settings)


@pytest.fixture
def models(settings: Settings) -> Models:
    """Runs `crosscurrent models` in this process, on the topics and the store of the test."""
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]

    def run(*arguments: str) -> Result:
        words = ["models", *arguments, *where, "--snapshot-store", settings.snapshot_store]
        return CliRunner().invoke(app, words, prog_name="crosscurrent")

    return run


def announced(settings: Settings, model: str = "sequence") -> Announcement | None:
    return SnapshotRegistry(settings, model).announced


def file(settings: Settings, version: str, name: str) -> Path:
    return Path(settings.snapshot_store, f"{settings.prefix}sequence", version, name)


def listed(models: Models) -> list[dict[str, object]]:
    result = models("list", "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_snapshot_is_carried_from_shop_to_shop(
    models: Models, settings: Settings, store: SnapshotStore, tmp_path: Path
) -> None:
    elsewhere = SnapshotStore(str(tmp_path / "elsewhere"))
    old, new = (elsewhere.save(kettle_snapshot(events)).manifest.version for events in (10, 20))
    for version in (old, new):
        where = ["--snapshot-store", str(tmp_path / "elsewhere")]
        exported = CliRunner().invoke(app, ["models", "export", version, str(tmp_path / f"{version}.tar"), *where])
        assert exported.exit_code == 0, exported.output
        assert listed(models) == [] or version == new

        result = models("import", str(tmp_path / f"{version}.tar"))
        assert result.exit_code == 0, result.output
        assert f"announced sequence {version}" in result.stdout
    assert store.load("sequence", new) == kettle_snapshot(20)
    found = announced(settings)
    assert found is not None
    assert (found.version, found.by, found.at, found.url) == (new, "import", kettle_snapshot(20).at, store.url)
    store.load("sequence", found.version, found.sha256)
    assert [(line["version"], line["announced"]) for line in listed(models)] == [(old, False), (new, True)]


def test_an_import_that_is_not_announced_changes_nothing_for_workers(
    models: Models, settings: Settings, store: SnapshotStore, tmp_path: Path
) -> None:
    write_archive(kettle_snapshot(), tmp_path / "a.tar")
    result = models("import", str(tmp_path / "a.tar"), "--no-announce")
    assert result.exit_code == 0, result.output
    assert store.versions("sequence") == [kettle_snapshot().version]
    assert announced(settings) is None


def test_an_import_mends_what_is_broken_and_leaves_what_is_whole(
    models: Models, settings: Settings, store: SnapshotStore, tmp_path: Path
) -> None:
    snapshot = kettle_snapshot()
    store.save(snapshot, {"moments": snapshot.arrays["items"]})
    write_archive(snapshot, tmp_path / "a.tar")
    assert models("import", str(tmp_path / "a.tar")).exit_code == 0
    assert store.training("sequence", snapshot.version) is not None
    file(settings, snapshot.version, WEIGHTS).write_bytes(b"broken")
    assert not store.is_intact("sequence", snapshot.version)
    assert models("import", str(tmp_path / "a.tar")).exit_code == 0
    assert store.is_intact("sequence", snapshot.version)


def test_what_cannot_be_imported_is_neither_stored_nor_announced(
    models: Models, settings: Settings, store: SnapshotStore, tmp_path: Path
) -> None:
    write_archive(kettle_snapshot(model="factors"), tmp_path / "a.tar")
    result = models("import", str(tmp_path / "a.tar"))
    assert isinstance(result.exception, SnapshotCorruptError)
    assert "expected a snapshot of `sequence` (--model), got one of `factors`" in str(result.exception)
    (tmp_path / "b.tar").write_bytes(b"\0" * 10_240)
    assert isinstance(models("import", str(tmp_path / "b.tar")).exception, SnapshotCorruptError)
    assert store.versions("sequence") == []
    assert announced(settings) is None
    assert models("import", str(tmp_path / "a.tar"), "--model", "factors").exit_code == 0
    found = announced(settings, "factors")
    assert found is not None
    assert announced(settings) is None


def test_rollback_goes_to_the_one_before_and_to_any_that_is_named(
    models: Models, settings: Settings, store: SnapshotStore
) -> None:
    versions = [store.save(kettle_snapshot(events)).manifest.version for events in (10, 20, 30)]
    nothing = models("rollback")
    assert isinstance(nothing.exception, SnapshotMissingError)
    assert "no snapshot of `sequence` is announced" in str(nothing.exception)
    for arguments, version in [((versions[2],), versions[2]), ((), versions[1]), ((), versions[0])]:
        result = models("rollback", *arguments)
        assert result.exit_code == 0, result.output
        found = announced(settings)
        assert found is not None
        assert (found.version, found.by) == (version, "rollback")
    last = models("rollback")
    assert isinstance(last.exception, SnapshotMissingError)
    assert f"older than the announced {versions[0]}" in str(last.exception)
    assert isinstance(models("rollback", "20200101T000000Z-000000000001-00000000").exception, SnapshotMissingError)


def test_rollback_to_a_broken_one_is_refused(models: Models, settings: Settings, store: SnapshotStore) -> None:
    versions = [store.save(kettle_snapshot(events)).manifest.version for events in (10, 20)]
    assert models("rollback", versions[1]).exit_code == 0
    file(settings, versions[0], WEIGHTS).write_bytes(b"broken")
    assert isinstance(models("rollback").exception, SnapshotCorruptError)
    found = announced(settings)
    assert found is not None
    assert found.version == versions[1]


def test_what_people_see(models: Models, settings: Settings, store: SnapshotStore) -> None:
    versions = [store.save(kettle_snapshot(events)).manifest.version for events in (10, 20, 30)]
    models("rollback", versions[1])
    file(settings, versions[0], MANIFEST).write_bytes(b"{")
    output = models("list").stdout
    for words in (
        *versions,
        "announced │ hr@20 0.41, n 7",
        "cannot be read",
        "manifest.json: expected a manifest, got",
    ):
        assert words in " ".join(output.split())
    assert [line.get("items") for line in listed(models)] == [None, 2, 2]
    shown = models("show", versions[1])
    assert shown.exit_code == 0
    for words in ("lstm-1", "events 20", "2 in 3 slots", "clicks 0 812, 11 7", "items float32 (3, 2)", store.url):
        assert words in " ".join(shown.stdout.split())
    assert "kettle" not in shown.stdout
    manifest = json.loads(models("show", versions[1], "--json").stdout)
    assert manifest["vocabulary"] == [["kettle", "", "mug/é"]]


def test_an_announced_version_that_the_store_does_not_have_is_listed(
    models: Models, settings: Settings, store: SnapshotStore, tmp_path: Path
) -> None:
    elsewhere = SnapshotStore(str(tmp_path / "elsewhere"), settings.prefix)
    SnapshotRegistry(settings, "sequence").announce(elsewhere.save(kettle_snapshot()), "trainer")
    (line,) = listed(models)
    assert (line["version"], line["announced"]) == (kettle_snapshot().version, True)
    assert "there is no file://" in str(line["fault"])


def test_what_others_write_to_the_topic_is_passed_over(
    models: Models, settings: Settings, store: SnapshotStore
) -> None:
    version = store.save(kettle_snapshot()).manifest.version
    assert models("rollback", version).exit_code == 0
    with Sender(settings, ["snapshots"]) as sender:
        for value in (b"no announcement", b'{"v":2}'):
            sender.send("snapshots", b"sequence", value)
    assert [line["announced"] for line in listed(models)] == [True]


def test_the_order_of_lists_is_listed_shown_and_gone_back_to_by_its_own_name(
    models: Models, settings: Settings, store: SnapshotStore
) -> None:
    ranker = Ranker(RankerConfig(), Policy())
    orders = [
        kettle_snapshot(
            events,
            model=RANKER,
            code=CODE,
            arrays=ranker.snapshot_arrays()[1],
            vocabulary=(),
            config=ranker.config_of(),
            learnt={"events": events},
            metrics=ranker.metrics(),
        )
        for events in (10, 20)
    ]
    old, new = (store.save(order).manifest.version for order in orders)
    sequence = store.save(kettle_snapshot()).manifest.version
    assert models("rollback", sequence).exit_code == 0
    assert models("rollback", new, "--model", RANKER).exit_code == 0
    result = models("rollback", "--model", RANKER)
    assert result.exit_code == 0, result.output
    found, other = announced(settings, RANKER), announced(settings)
    assert found is not None and other is not None
    assert (found.version, other.version) == (old, sequence)
    lines = models("list", "--model", RANKER, "--json").stdout.splitlines()
    assert [(line["version"], line["announced"]) for line in map(json.loads, lines)] == [(old, True), (new, False)]
    table, shown = models("list", "--model", RANKER), models("show", new, "--model", RANKER)
    assert table.exit_code == shown.exit_code == 0
    for words in (CODE, "events 20", "0 in 0 slots", "weights float64", "training none"):
        assert words in " ".join(shown.stdout.replace("│", " ").split()), shown.stdout
    assert store.load(RANKER, new) == orders[1]
