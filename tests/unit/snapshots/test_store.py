"""The store returns what was saved, or an error in one sentence; readers never see incomplete snapshots."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fsspec
import msgspec
import numpy as np
import pytest
from safetensors import numpy as safetensors

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.snapshot import Snapshot
from streams.errors import SnapshotCorruptError, SnapshotMissingError, SnapshotTooLargeError, StoreUnreachableError
from streams.settings import Settings
from streams.snapshots.format import MANIFEST, TRAINING, WEIGHTS, decode_arrays, encode_arrays, encode_snapshot, sha256
from streams.snapshots.store import SnapshotStore
from tests.support.kettle_model import kettle_snapshot

UNKNOWN = "20260314T092653Z-000000000001-00000000"


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder that is not there yet, and a store that has no folders, as S3 has none."""
    if request.param == "folder":
        yield f"{tmp_path}/not/yet"
        return
    yield f"memory://{tmp_path.name}/store"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def store(url: str) -> SnapshotStore:
    return SnapshotStore(url)


@pytest.fixture
def folder_store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(str(tmp_path))


def file(store: SnapshotStore, snapshot: Snapshot, name: str) -> Path:
    """A file of a snapshot in a store that is a folder."""
    return Path(store.url.removeprefix("file://")) / snapshot.model / snapshot.version / name


def rewritten(path: Path, **changes: Any) -> None:
    """Change fields of a manifest."""
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changes))


def assert_same(loaded: Snapshot, saved: Snapshot) -> None:
    """Equal to the last bit."""
    assert loaded == saved
    assert loaded.described() == saved.described()
    assert loaded.vocabulary == saved.vocabulary
    for name, array in loaded.arrays.items():
        assert (array.dtype, array.shape) == (saved.arrays[name].dtype, saved.arrays[name].shape)
        assert array.tobytes() == saved.arrays[name].tobytes()


def test_a_snapshot_comes_back_bit_for_bit(store: SnapshotStore) -> None:
    snapshot = kettle_snapshot()
    stored = store.save(snapshot)
    loaded = store.load("sequence", snapshot.version, sha256(stored.content))
    assert_same(loaded, snapshot)
    with pytest.raises(ValueError, match="read-only"):
        loaded.arrays["items"][0, 0] = 1
    assert store.stored("sequence", snapshot.version) == stored
    assert store.training("sequence", snapshot.version) is None


def test_an_empty_model_comes_back(store: SnapshotStore) -> None:
    snapshot = kettle_snapshot(arrays={}, vocabulary=(), config={}, positions={}, metrics={}, topic_ids={})
    store.save(snapshot)
    assert_same(store.load("sequence", snapshot.version), snapshot)


def test_training_state_is_kept_beside_it(store: SnapshotStore) -> None:
    snapshot, moments = kettle_snapshot(), np.asfortranarray(np.arange(6.0).reshape(2, 3))
    store.save(snapshot, {"moments": moments, "step": np.array(7)})
    training = store.training("sequence", snapshot.version)
    assert training is not None
    assert training["moments"].tolist() == moments.tolist()
    assert training["step"].shape == ()
    assert_same(store.load("sequence", snapshot.version), snapshot)


def test_the_announcement_names_what_was_stored(store: SnapshotStore) -> None:
    snapshot = kettle_snapshot()
    stored = store.save(snapshot)
    announcement = stored.announcement("trainer")
    assert (announcement.model, announcement.version, announcement.at) == ("sequence", snapshot.version, snapshot.at)
    assert (announcement.url, announcement.by) == (store.url, "trainer")
    store.load(announcement.model, announcement.version, announcement.sha256)


def test_saving_again_changes_nothing(folder_store: SnapshotStore) -> None:
    snapshot = kettle_snapshot()
    before = folder_store.save(snapshot)
    weights = file(folder_store, snapshot, WEIGHTS).read_bytes()
    assert folder_store.save(kettle_snapshot()) == before
    assert file(folder_store, snapshot, WEIGHTS).read_bytes() == weights
    assert sorted(os.listdir(file(folder_store, snapshot, ""))) == [MANIFEST, WEIGHTS]


def test_versions_are_listed_oldest_first(store: SnapshotStore) -> None:
    assert store.versions("sequence") == []
    snapshots = [kettle_snapshot(events) for events in (30, 10, 20)]
    for snapshot in snapshots:
        store.save(snapshot)
    store.save(kettle_snapshot(40, model="factors"))
    assert store.versions("sequence") == [snapshots[n].version for n in (1, 2, 0)]


def test_shops_share_a_store_by_their_prefixes(url: str) -> None:
    spring, autumn = SnapshotStore(url, "spring-"), SnapshotStore(url, "autumn-")
    spring.save(kettle_snapshot())
    assert spring.versions("sequence") == [kettle_snapshot().version]
    assert autumn.versions("sequence") == []


def test_what_has_no_manifest_is_no_snapshot(folder_store: SnapshotStore) -> None:
    snapshot = kettle_snapshot()
    folder_store.save(snapshot)
    file(folder_store, snapshot, MANIFEST).unlink()
    assert folder_store.versions("sequence") == []
    with pytest.raises(SnapshotMissingError, match=rf"there is no file://.*/sequence/{snapshot.version}/manifest.json"):
        folder_store.load("sequence", snapshot.version)


def test_a_reader_sees_whole_files_only(folder_store: SnapshotStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that dies in the middle of a file leaves the old one, and of a new snapshot none."""
    old, new = kettle_snapshot(10), kettle_snapshot(20)
    folder_store.save(old)

    def dies(descriptor: int) -> None:
        message = "no space left"
        raise OSError(message)

    monkeypatch.setattr(os, "fsync", dies)
    for snapshot in (old, new):
        with pytest.raises(StoreUnreachableError, match="no space left"):
            folder_store.save(snapshot)
    assert folder_store.versions("sequence") == [old.version]
    assert_same(folder_store.load("sequence", old.version), old)
    assert sorted(os.listdir(file(folder_store, old, ""))) == [MANIFEST, WEIGHTS]


def test_the_newest_are_kept_and_what_is_served(store: SnapshotStore) -> None:
    versions = [store.save(kettle_snapshot(events)).manifest.version for events in range(1, 7)]
    assert store.prune("sequence", 2, {versions[1]}) == [versions[0], versions[2], versions[3]]
    assert store.versions("sequence") == [versions[1], versions[4], versions[5]]
    assert store.prune("sequence", 2, {versions[1]}) == []
    assert store.prune("sequence", 0, {}) == [versions[1], versions[4]]
    assert store.versions("sequence") == [versions[5]]
    assert store.prune("factors", 1, {}) == []


def test_what_was_left_half_written_goes_once_it_is_old(folder_store: SnapshotStore) -> None:
    versions = [folder_store.save(kettle_snapshot(events)).manifest.version for events in (1, 2, 3)]
    for events in (1, 3):
        file(folder_store, kettle_snapshot(events), MANIFEST).unlink()
    assert folder_store.prune("sequence", 1, {}) == [versions[0]]
    assert file(folder_store, kettle_snapshot(3), WEIGHTS).exists()


# -- what is wrong is refused ------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(folder_store: SnapshotStore) -> Snapshot:
    """One that is in the store, with training state."""
    snapshot = kettle_snapshot()
    folder_store.save(snapshot, {"moments": np.ones(3)})
    return snapshot


def test_a_missing_file_is_named(folder_store: SnapshotStore, snapshot: Snapshot) -> None:
    file(folder_store, snapshot, TRAINING).unlink()
    with pytest.raises(SnapshotMissingError, match="training.safetensors: `crosscurrent models list`"):
        folder_store.training("sequence", snapshot.version)
    assert folder_store.is_intact("sequence", snapshot.version)
    file(folder_store, snapshot, WEIGHTS).unlink()
    with pytest.raises(SnapshotMissingError, match="weights.safetensors"):
        folder_store.load("sequence", snapshot.version)
    with pytest.raises(SnapshotMissingError, match=UNKNOWN):
        folder_store.load("sequence", UNKNOWN)
    assert not folder_store.is_intact("sequence", snapshot.version)


@pytest.mark.parametrize(("model", "version"), [("sequence", ".."), ("..", UNKNOWN), ("sequence", f"../{UNKNOWN}")])
def test_no_name_leads_out_of_the_store(folder_store: SnapshotStore, model: str, version: str) -> None:
    with pytest.raises(SnapshotMissingError, match="there is no (snapshot|model)"):
        folder_store.load(model, version)
    with pytest.raises(SnapshotMissingError, match=r"there is no model '\.\./sequence'"):
        folder_store.versions("../sequence")


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING])
def test_a_changed_byte_is_noticed(folder_store: SnapshotStore, snapshot: Snapshot, name: str) -> None:
    path = file(folder_store, snapshot, name)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SnapshotCorruptError, match=rf"{name}: expected SHA-256 [0-9a-f]{{64}}, got [0-9a-f]{{64}}"):
        folder_store.training("sequence", snapshot.version)
        folder_store.load("sequence", snapshot.version)
    path.write_bytes(content[:-3])
    with pytest.raises(SnapshotCorruptError, match=rf"{name}: expected {len(content)} bytes, got {len(content) - 3}"):
        folder_store.training("sequence", snapshot.version)
        folder_store.load("sequence", snapshot.version)


def test_another_manifest_than_the_announced_is_noticed(folder_store: SnapshotStore, snapshot: Snapshot) -> None:
    with pytest.raises(SnapshotCorruptError, match="manifest.json: expected SHA-256 0{64}, as announced"):
        folder_store.load("sequence", snapshot.version, "0" * 64)


@pytest.mark.parametrize("vocabulary", [["mug/é", "", "kettle"], [["mug/é"], [7]], [[["kettle"]]], {}, None])
def test_a_vocabulary_is_lists_of_ids(folder_store: SnapshotStore, snapshot: Snapshot, vocabulary: Any) -> None:
    rewritten(file(folder_store, snapshot, MANIFEST), vocabulary=vocabulary)
    with pytest.raises(SnapshotCorruptError, match="manifest.json: expected a manifest"):
        folder_store.stored("sequence", snapshot.version)


def test_a_long_vocabulary_comes_back(store: SnapshotStore) -> None:
    snapshot = kettle_snapshot(vocabulary=tuple(f"item {n}" for n in range(25_000)))
    store.save(snapshot)
    assert_same(store.load("sequence", snapshot.version), snapshot)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"v":1}', b"[" * 100_000])
def test_what_is_no_manifest_is_noticed(folder_store: SnapshotStore, snapshot: Snapshot, content: bytes) -> None:
    file(folder_store, snapshot, MANIFEST).write_bytes(content)
    with pytest.raises(SnapshotCorruptError, match="manifest.json: expected a manifest, got something else"):
        folder_store.load("sequence", snapshot.version)


def test_another_form_is_told_apart_from_nonsense(folder_store: SnapshotStore, snapshot: Snapshot) -> None:
    file(folder_store, snapshot, MANIFEST).write_bytes(b'{"v":2,"everything":"else"}')
    with pytest.raises(SnapshotFormatError, match="manifest.json has another form: expected form 1, got form 2"):
        folder_store.load("sequence", snapshot.version)


def test_a_manifest_in_another_place_is_noticed(folder_store: SnapshotStore, snapshot: Snapshot) -> None:
    other = kettle_snapshot(7)
    folder_store.save(other)
    file(folder_store, snapshot, MANIFEST).write_bytes(file(folder_store, other, MANIFEST).read_bytes())
    with pytest.raises(
        SnapshotCorruptError, match=f"expected sequence {snapshot.version}, got sequence {other.version}"
    ):
        folder_store.load("sequence", snapshot.version)


@pytest.mark.parametrize(
    "changes",
    [{"metrics": {"hr@20": 0.99}}, {"vocabulary": [["mug/é", "", "kettle"]]}, {"positions": {}}, {"at": 1.0}],
    ids=str,
)
def test_a_manifest_that_was_changed_is_noticed(
    folder_store: SnapshotStore, snapshot: Snapshot, changes: dict[str, Any]
) -> None:
    rewritten(file(folder_store, snapshot, MANIFEST), **changes)
    with pytest.raises(
        SnapshotCorruptError, match=f"expected the contents of version {snapshot.version}, got those of"
    ):
        folder_store.load("sequence", snapshot.version)


def test_arrays_that_are_not_the_manifests_are_named(folder_store: SnapshotStore, snapshot: Snapshot) -> None:
    for array, came in ((np.zeros((2, 3), np.float32), r"float32 \(2, 3\)"), (np.zeros((3, 2)), r"float64 \(3, 2\)")):
        weights = encode_arrays(dict(snapshot.arrays) | {"items": array})
        file(folder_store, snapshot, WEIGHTS).write_bytes(weights)
        form = {"bytes": len(weights), "sha256": sha256(weights)}
        rewritten(file(folder_store, snapshot, MANIFEST), weights=form)
        with pytest.raises(SnapshotShapeError, match=rf"array `items` must be float32 \(3, 2\), got {came}"):
            folder_store.load("sequence", snapshot.version)


def test_weights_that_are_no_safetensors_are_noticed(folder_store: SnapshotStore, snapshot: Snapshot) -> None:
    for weights in (b"", b"\x80\x04.", b"\xff" * 100, (1 << 40).to_bytes(8, "little") + b"{}"):
        file(folder_store, snapshot, WEIGHTS).write_bytes(weights)
        form = {"bytes": len(weights), "sha256": sha256(weights)}
        rewritten(file(folder_store, snapshot, MANIFEST), weights=form)
        with pytest.raises(SnapshotCorruptError, match="weights.safetensors: expected arrays in safetensors"):
            folder_store.load("sequence", snapshot.version)


KINDS = ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")


def test_arrays_are_read_as_the_library_reads_them() -> None:
    random = np.random.default_rng(1)
    shapes = [(), (0,), (3,), (2, 0, 4), (5, 7)]
    arrays = {
        f"{kind} {shape}/é": random.integers(0, 2, shape).astype(kind) * random.integers(1, 100, shape).astype(kind)
        for kind in KINDS
        for shape in shapes
    }
    content = encode_arrays(arrays)
    ours, theirs = decode_arrays(content, "here"), safetensors.load(content)
    assert set(ours) == set(theirs) == set(arrays)
    for name, array in ours.items():
        assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape)
        assert array.tobytes() == theirs[name].tobytes() == arrays[name].tobytes()
        assert array.flags.aligned
        assert not array.flags.writeable


def packed(header: str, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04.",
        b"\xff" * 100,
        (1 << 40).to_bytes(8, "little") + b"{}",
        packed("{}", b"more"),
        packed("[]"),
        packed("[" * 100_000),
        packed('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"abc"),
        packed('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"abcde"),
        packed('{"a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}', b"abcde"),
        packed('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', b"abcd"),
        packed('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"abcd"),
        packed('{"a":{"dtype":"O","shape":[1],"data_offsets":[0,4]}}', b"abcd"),
        packed('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
               '"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"a"),
        packed('{"a":{"dtype":"U8","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'),
        packed('{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}', b"a"),
        packed('{"a":{"dtype":"U8","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}'),
        packed('{"a":{"dtype":"U8","shape":[' + "1," * 99 + '1],"data_offsets":[0,1]}}', b"a"),
    ],
    ids=range(18),
)  # fmt: skip
def test_what_is_no_file_of_arrays_is_refused(content: bytes) -> None:
    with pytest.raises(SnapshotCorruptError, match="here: expected arrays in safetensors, got something else"):
        decode_arrays(content, "here")


def test_the_same_snapshot_has_the_same_bytes_in_every_process() -> None:
    program = (
        "from tests.support.kettle_model import kettle_snapshot; from streams.snapshots.format import *;"
        "print(*map(sha256, encode_snapshot(kettle_snapshot(), b'x')))"
    )
    environ = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.split() == [sha256(content) for content in encode_snapshot(kettle_snapshot(), b"x")]


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, TRAINING])
def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    """Each would take a terabyte of memory."""
    store = SnapshotStore(str(tmp_path))
    snapshot = kettle_snapshot()
    store.save(snapshot, {"moments": np.zeros(3)})
    os.truncate(file(store, snapshot, name), 1 << 40)
    with pytest.raises(
        SnapshotTooLargeError, match=f"{name} has 1,099,511,627,776 bytes, and at most [0-9,]+ are read"
    ):
        store.training("sequence", snapshot.version) if name == TRAINING else store.load("sequence", snapshot.version)


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING])
def test_a_file_of_another_size_than_the_manifests_is_refused_before_it_is_read(
    folder_store: SnapshotStore, snapshot: Snapshot, name: str
) -> None:
    folder_store.save(snapshot, {"moments": np.zeros(3)})
    os.truncate(file(folder_store, snapshot, name), 2 << 30)
    with pytest.raises(SnapshotCorruptError, match=f"{name}: expected [0-9]+ bytes, got 2147483648"):
        (folder_store.training if name == TRAINING else folder_store.load)("sequence", snapshot.version)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
def test_what_is_no_file_is_refused_and_not_waited_for(
    folder_store: SnapshotStore, snapshot: Snapshot, name: str
) -> None:
    path = file(folder_store, snapshot, name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SnapshotCorruptError, match=f"{name}: expected a file, got something of type 'other'"):
        folder_store.load("sequence", snapshot.version)


def test_the_bound_is_a_setting_and_holds_for_writing_too(tmp_path: Path) -> None:
    settings = Settings(snapshot_store=str(tmp_path), snapshot_bytes=1 << 20)
    store = SnapshotStore.of(settings)
    store.save(kettle_snapshot(10), {"moments": np.zeros(100_000)})
    with pytest.raises(
        SnapshotTooLargeError, match="training.safetensors has 1,200,.* bytes, and at most 1,048,576 are"
    ):
        store.save(kettle_snapshot(20), {"moments": np.zeros(150_000)})
    assert store.versions("sequence") == [kettle_snapshot(10).version]


FULL_DISK = """
import resource, signal, sys
import numpy as np
from streams.errors import StoreUnreachableError
from streams.snapshots.archive import write_archive
from streams.snapshots.store import SnapshotStore
from tests.support.kettle_model import kettle_snapshot
from pathlib import Path

store = SnapshotStore(sys.argv[1])
store.save(kettle_snapshot(10), {"moments": np.zeros(1_000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for moments in (np.zeros(10_000), np.zeros(5_000)):
    try:
        store.save(kettle_snapshot(20), {"moments": moments})
    except StoreUnreachableError as error:
        print(error)
store.load("sequence", kettle_snapshot(10).version)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    write_archive(kettle_snapshot(10), Path(sys.argv[1], "a.tar"))
except StoreUnreachableError as error:
    print(error)
"""
"""A file that grows beyond the limit fails in the middle of a write, as on a full disk; the weights before it fit."""


def test_on_a_full_disk_no_half_snapshot_is_left_and_the_others_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("the one before")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sentences = done.stdout.splitlines()
    assert len(sentences) == 3
    assert all("could not be used ([Errno 27] File too large)" in sentence for sentence in sentences[:2])
    assert sentences[2].endswith("a.tar cannot be used: File too large")
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "sequence"]
    assert (tmp_path / "a.tar").read_text() == "the one before"
    assert os.listdir(tmp_path / "sequence") == [kettle_snapshot(10).version]
    assert sorted(os.listdir(tmp_path / "sequence" / kettle_snapshot(10).version)) == [MANIFEST, TRAINING, WEIGHTS]


def test_a_second_save_that_fails_leaves_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SnapshotStore(str(tmp_path))
    store.save(kettle_snapshot())
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", Mock(side_effect=full))
    with pytest.raises(StoreUnreachableError, match="No space left on device"):
        store.save(kettle_snapshot())
    monkeypatch.undo()
    assert_same(store.load("sequence", kettle_snapshot().version), kettle_snapshot())


# -- stores that cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["s3+nothing://shop/snapshots", "nothing://snapshots"])
def test_a_url_that_nobody_knows_is_told_at_its_first_use(url: str) -> None:
    store = SnapshotStore(url)
    with pytest.raises(StoreUnreachableError, match="Protocol not known"):
        store.versions("sequence")


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SnapshotStore(str(tmp_path / "file"))
    with pytest.raises(StoreUnreachableError, match="the store of snapshots file://.*/file could not be used"):
        store.save(kettle_snapshot())
    with pytest.raises(StoreUnreachableError):
        store.load("sequence", UNKNOWN)


def test_no_password_is_shown() -> None:
    assert SnapshotStore("s3://key:secret@shop/snapshots").url == "s3://shop/snapshots"
    with pytest.raises(StoreUnreachableError) as caught:
        SnapshotStore("nothing://key:secret@shop/snapshots").versions("sequence")
    assert "secret" not in str(caught.value)


def test_the_store_of_a_process_is_that_of_its_settings(tmp_path: Path) -> None:
    store = SnapshotStore.of(Settings(prefix="spring-", snapshot_store=str(tmp_path)))
    store.save(kettle_snapshot())
    assert os.listdir(tmp_path) == ["spring-sequence"]
    assert SnapshotStore("~/x").url == (Path.home() / "x").as_uri()
