"""The announced snapshot comes into use beside the worker's work, and a fault leaves the one in use where it is."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.snapshot import Snapshot
from streams.kafka.global_tables import GlobalTables
from streams.metrics import Metrics
from streams.settings import Settings
from streams.snapshots.format import MANIFEST, WEIGHTS
from streams.snapshots.store import SnapshotStore, Stored
from streams.wire.announcements import Announcement, encode_announcement
from streams.wire.partitioner import partition_of
from streams.worker.model_loader import ModelLoader
from tests.support.kettle_model import kettle_snapshot
from tests.support.loaders import running, until
from tests.support.world import PARTITIONS, MemoryFollower, Process, Shop

SHAPES = {"items": (3, 2), "bias": (3,), "scale": ()}


class Branch:
    """Global tables and a model loader on an in-memory log, and a store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.shop = Shop()
        self.folder = folder
        self.store = SnapshotStore(str(folder))
        self.metrics = Metrics()
        self.tables = GlobalTables(Settings(), self.metrics, on_announced=self._announced)
        self.table_reader = MemoryFollower(self.shop.log, self.tables)
        self.served: list[Snapshot] = []
        self.threads: set[str] = set()
        self.loader = self.installer_with(self.install)

    def installer_with(self, install: Callable[[Snapshot], None], store: Any = None) -> ModelLoader:
        loader = ModelLoader("sequence", store or self.store, install, self.metrics, 0.01, 0.04)
        self.listening = loader
        return loader

    def _announced(self, model: str, announcement: Announcement | None) -> None:
        self.listening.announced(model, announcement)

    def install(self, snapshot: Snapshot) -> None:
        snapshot.require("lstm-1", SHAPES)
        self.threads.add(threading.current_thread().name)
        self.served.append(snapshot)

    async def announce(self, stored: Stored | None, model: str = "sequence") -> None:
        """Append to the topic; the global tables read it."""
        key, value = (model.encode(), None) if stored is None else encode_announcement(stored.announcement("trainer"))
        self.shop.log.append("snapshots", partition_of(key, PARTITIONS), key, value)
        await self.table_reader.caught_up()

    def file(self, stored: Stored, name: str) -> Path:
        return self.folder / stored.manifest.model / stored.manifest.version / name

    def faults(self, fault: str) -> float:
        labels = {"model": "sequence", "fault": fault}
        return self.metrics.registry.get_sample_value("crosscurrent_snapshot_faults_total", labels) or 0.0

    def figure(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"crosscurrent_snapshot_{name}", {"model": "sequence"})


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    return Branch(tmp_path)


async def test_what_is_announced_comes_into_use_in_another_thread(branch: Branch) -> None:
    assert (branch.loader.installed, branch.loader.behind) == (None, False)
    async with running(branch.loader):
        for events in (10, 20):
            stored = branch.store.save(kettle_snapshot(events))
            await branch.announce(stored)
            assert branch.loader.behind
            await until(lambda: not branch.loader.behind)
            assert branch.loader.installed == stored.manifest.version
            assert branch.figure("at_seconds") == kettle_snapshot(events).at
    assert branch.served == [kettle_snapshot(10), kettle_snapshot(20)]
    assert branch.figure("swaps_total") == 2
    assert branch.figure("behind") == 0
    assert threading.current_thread().name not in branch.threads


async def test_of_many_announced_only_the_newest_is_fetched(branch: Branch) -> None:
    for events in (10, 20, 30):
        await branch.announce(branch.store.save(kettle_snapshot(events)))
    async with running(branch.loader):
        await until(lambda: branch.served)
    assert branch.served == [kettle_snapshot(30)]


async def test_an_older_one_is_gone_back_to(branch: Branch) -> None:
    old, new = (branch.store.save(kettle_snapshot(events)) for events in (10, 20))
    async with running(branch.loader):
        for stored in (old, new, old):
            await branch.announce(stored)
            await until(lambda: not branch.loader.behind)
    assert branch.served == [kettle_snapshot(10), kettle_snapshot(20), kettle_snapshot(10)]


async def test_announced_again_it_is_not_installed_again(branch: Branch) -> None:
    stored = branch.store.save(kettle_snapshot())
    async with running(branch.loader):
        for _ in range(3):
            await branch.announce(stored)
            await until(lambda: not branch.loader.behind)
            await asyncio.sleep(0.02)
    assert branch.served == [kettle_snapshot()]


def cut(branch: Branch, stored: Stored) -> None:
    path = branch.file(stored, WEIGHTS)
    path.write_bytes(path.read_bytes()[:-1])


def flip(branch: Branch, stored: Stored) -> None:
    path = branch.file(stored, WEIGHTS)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def another_manifest(branch: Branch, stored: Stored) -> None:
    path = branch.file(stored, MANIFEST)
    path.write_bytes(path.read_bytes() + b" ")


def no_folder(branch: Branch, stored: Stored) -> None:
    (branch.folder / "sequence").rename(branch.folder / "elsewhere")
    (branch.folder / "sequence").write_text("a file, where a folder should be")


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (cut, "corrupt"),
        (flip, "corrupt"),
        (another_manifest, "corrupt"),
        (lambda branch, stored: branch.file(stored, WEIGHTS).unlink(), "missing"),
        (lambda branch, stored: branch.file(stored, MANIFEST).unlink(), "missing"),
        (no_folder, "unreachable"),
    ],
    ids=["cut", "flip", "another manifest", "no weights", "no manifest", "no folder"],
)
async def test_a_fault_keeps_the_old_and_passes_when_it_is_mended(
    branch: Branch, break_it: Callable[[Branch, Stored], None], fault: str
) -> None:
    old, new = (branch.store.save(kettle_snapshot(events)) for events in (10, 20))
    async with running(branch.loader):
        await branch.announce(old)
        await until(lambda: not branch.loader.behind)
        break_it(branch, new)
        await branch.announce(new)
        await until(lambda: branch.faults(fault) >= 2)
        assert branch.loader.installed == old.manifest.version
        assert branch.figure("behind") == 1
        if fault == "unreachable":
            (branch.folder / "sequence").unlink()
        branch.store.save(kettle_snapshot(20))
        await until(lambda: not branch.loader.behind)
    assert branch.served == [kettle_snapshot(10), kettle_snapshot(20)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"code": "lstm-2"}, "format"), ({"arrays": {"items": kettle_snapshot().arrays["items"]}}, "shape")],
    ids=str,
)
async def test_what_the_model_does_not_take_leaves_the_old(branch: Branch, change: dict[str, Any], fault: str) -> None:
    async with running(branch.loader):
        await branch.announce(branch.store.save(kettle_snapshot(10)))
        await until(lambda: not branch.loader.behind)
        await branch.announce(branch.store.save(kettle_snapshot(20, **change)))
        await until(lambda: branch.faults(fault) >= 2)
        assert branch.loader.installed == kettle_snapshot(10).version
        await branch.announce(branch.store.save(kettle_snapshot(30)))
        await until(lambda: not branch.loader.behind)
    assert branch.served == [kettle_snapshot(10), kettle_snapshot(30)]


async def test_a_model_that_fails_in_its_own_way_does_not_stop_the_worker(
    branch: Branch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(snapshot: Snapshot) -> None:
        message = "no memory for the kettle"
        raise MemoryError(message)

    loader = branch.installer_with(fails)
    async with running(loader):
        await branch.announce(branch.store.save(kettle_snapshot()))
        await until(lambda: branch.faults("model") >= 2)
    assert loader.installed is None
    assert "no memory for the kettle; none stays in use" in caplog.text
    assert "Traceback" in caplog.text


async def test_faults_are_one_sentence_each_with_growing_pauses(
    branch: Branch, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = SnapshotStore(str(branch.folder / "elsewhere"))
    stored = elsewhere.save(kettle_snapshot())
    async with running(branch.loader):
        await branch.announce(stored)
        await until(lambda: branch.faults("missing") >= 4)
    records = [record for record in caplog.records if record.levelno == logging.WARNING]
    sentences = [record.getMessage() for record in records]
    assert [re.findall(r"next try in (\S+) s", one)[0] for one in sentences[:4]] == ["0.01", "0.02", "0.04", "0.04"]
    assert all(record.exc_info is None and "\n" not in record.getMessage() for record in records)
    assert f"sequence {stored.manifest.version} cannot be taken: there is no file://" in sentences[0]
    assert f"(it was announced from the store {elsewhere.url}); none stays in use" in sentences[0]


async def test_pauses_start_again_with_the_next_announcement(branch: Branch, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = SnapshotStore(str(branch.folder / "elsewhere"))
    async with running(branch.loader):
        for events, faults in ((10, 3), (20, 4)):
            await branch.announce(elsewhere.save(kettle_snapshot(events)))
            await until(lambda: branch.faults("missing") >= faults)  # noqa: B023
    assert "next try in 0.04 s" in caplog.text
    assert f"{kettle_snapshot(20).version} cannot be taken" in caplog.messages[3]
    assert "next try in 0.01 s" in caplog.messages[3]


async def test_a_store_that_appears_later_is_found(tmp_path: Path) -> None:
    branch = Branch(tmp_path / "not" / "yet")
    elsewhere = SnapshotStore(str(tmp_path / "elsewhere"))
    async with running(branch.loader):
        await branch.announce(elsewhere.save(kettle_snapshot()))
        await until(lambda: branch.faults("missing") >= 2)
        branch.store.save(kettle_snapshot())
        await until(lambda: not branch.loader.behind)
    assert branch.served == [kettle_snapshot()]


async def test_going_back_ends_the_tries(branch: Branch) -> None:
    old, new = (branch.store.save(kettle_snapshot(events)) for events in (10, 20))
    async with running(branch.loader):
        await branch.announce(old)
        await until(lambda: not branch.loader.behind)
        branch.file(new, WEIGHTS).unlink()
        await branch.announce(new)
        await until(lambda: branch.faults("missing") >= 1)
        await branch.announce(old)
        assert not branch.loader.behind
        assert branch.figure("behind") == 0
        await asyncio.sleep(0.02)
        tried = branch.faults("missing")
        await asyncio.sleep(0.1)
        assert branch.faults("missing") == tried
    assert branch.served == [kettle_snapshot(10)]


async def test_other_models_and_other_peoples_records_are_passed_over(branch: Branch) -> None:
    async with running(branch.loader):
        await branch.announce(branch.store.save(kettle_snapshot(10)))
        await until(lambda: not branch.loader.behind)
        await branch.announce(branch.store.save(kettle_snapshot(20, model="factors")))
        branch.shop.log.append("snapshots", partition_of(b"sequence", PARTITIONS), b"sequence", b"no announcement")
        await branch.announce(None)
        await asyncio.sleep(0.02)
        assert branch.loader.installed == kettle_snapshot(10).version
    assert branch.served == [kettle_snapshot(10)]
    assert set(branch.tables.announced) == {"factors"}
    unusable = branch.metrics.registry.get_sample_value("crosscurrent_mirror_unusable_total", {"topic": "snapshots"})
    assert unusable == 1


class SlowStore:
    """A store whose answers wait until they are let go."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self.url = store.url
        self.go = threading.Event()
        self.asked: list[str] = []

    def load(self, model: str, version: str, checksum: str) -> Snapshot:
        self.asked.append(version)
        self.go.wait()
        return self._store.load(model, version, checksum)


async def test_one_that_is_overtaken_while_it_is_fetched_is_not_installed(branch: Branch) -> None:
    slow = SlowStore(branch.store)
    loader = branch.installer_with(branch.install, slow)
    old, new = (branch.store.save(kettle_snapshot(events)) for events in (10, 20))
    async with running(loader):
        await branch.announce(old)
        await until(lambda: slow.asked)
        await branch.announce(new)
        slow.go.set()
        await until(lambda: not loader.behind)
    assert branch.served == [kettle_snapshot(20)]


async def test_a_store_that_hangs_holds_up_neither_events_nor_the_stop(branch: Branch) -> None:
    slow = SlowStore(branch.store)
    loader = branch.installer_with(branch.install, slow)
    process = Process(branch.shop, on_announced=loader.announced)
    branch.shop.offer("kettle", "Kettles", 30)
    branch.shop.offer("mug", "Mugs", 9)
    key, value = encode_announcement(branch.store.save(kettle_snapshot()).announcement("trainer"))
    branch.shop.log.append("snapshots", partition_of(key, PARTITIONS), key, value)
    async with running(loader):
        await process.take_over_all()
        await process.read_on()
        await until(lambda: slow.asked)
        branch.shop.click("ann", "kettle", 10_000)
        await process.read_on()
        await process.flush()
        assert [one["user_id"] for one in branch.shop.values("suggestions")] == ["ann"]
        assert loader.installed is None
    slow.go.set()
    await process.die()
