"""A snapshot in one file; files with anything else in them are refused in one sentence."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from models.errors import SnapshotError, SnapshotFormatError
from streams.errors import (
    SnapshotCorruptError,
    SnapshotMissingError,
    SnapshotTooLargeError,
    StoreError,
    StoreUnreachableError,
)
from streams.snapshots.archive import read_archive, write_archive
from streams.snapshots.format import MANIFEST, WEIGHTS, encode_snapshot
from streams.snapshots.store import SnapshotStore
from tests.support.kettle_model import kettle_snapshot

MANIFEST_BYTES, WEIGHTS_BYTES = encode_snapshot(kettle_snapshot())
GOOD = {MANIFEST: MANIFEST_BYTES, WEIGHTS: WEIGHTS_BYTES}


def test_a_snapshot_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    size = write_archive(kettle_snapshot(), file)
    assert size == file.stat().st_size
    back = read_archive(file)
    assert back == kettle_snapshot()
    assert back.arrays["items"].tobytes() == kettle_snapshot().arrays["items"].tobytes()


def test_the_same_snapshot_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_archive(kettle_snapshot(), tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_from_store_to_store_it_stays_the_same_version(tmp_path: Path) -> None:
    source, target = SnapshotStore(str(tmp_path / "one")), SnapshotStore(str(tmp_path / "other"), "autumn-")
    version = source.save(kettle_snapshot(), {"moments": kettle_snapshot().arrays["items"]}).manifest.version
    write_archive(source.load("sequence", version), tmp_path / "a.tar")
    stored = target.save(read_archive(tmp_path / "a.tar"))
    assert stored.manifest.version == version
    assert stored.manifest.training is None


def packed(path: Path, members: Sequence[tuple[tarfile.TarInfo | str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("extra", "came"),
    [
        ("../manifest.json", r"'\.\./manifest\.json'"),
        ("/etc/passwd", "'/etc/passwd'"),
        ("./manifest.json", r"'\./manifest\.json'"),
        ("training.safetensors", "'training.safetensors'"),
        ("weights.pickle", "'weights.pickle'"),
        (member("models", tarfile.DIRTYPE), "'models', no plain file"),
        (member(WEIGHTS, tarfile.SYMTYPE, "/etc/passwd"), "'weights.safetensors', no plain file"),
        (member(WEIGHTS, tarfile.LNKTYPE, MANIFEST), "'weights.safetensors', no plain file"),
        (member(WEIGHTS, tarfile.FIFOTYPE), "'weights.safetensors', no plain file"),
        (member(WEIGHTS, tarfile.CHRTYPE), "'weights.safetensors', no plain file"),
    ],
    ids=lambda case: f"{case.name} of type {case.type.decode()}" if isinstance(case, tarfile.TarInfo) else case,
)
@pytest.mark.parametrize("first", [True, False])
def test_anything_beside_the_two_files_is_refused(
    tmp_path: Path, extra: tarfile.TarInfo | str, came: str, first: bool
) -> None:
    good: list[tuple[tarfile.TarInfo | str, bytes]] = list(GOOD.items())
    file = packed(tmp_path / "a.tar", [(extra, b""), *good] if first else [*good, (extra, b"")])
    with pytest.raises(
        SnapshotCorruptError, match=f"a.tar: expected the plain files .* alone, got {came}; nothing was"
    ):
        read_archive(file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_sparse_file_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo(MANIFEST)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    file = packed(tmp_path / "a.tar", [(info, b"0\n".ljust(512, b"\0"))])
    with pytest.raises(SnapshotCorruptError, match="'manifest.json', no plain file"):
        read_archive(file)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
def test_each_file_is_there_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(SnapshotCorruptError, match=f"expected one {name}, got two"):
        read_archive(packed(tmp_path / "a.tar", [*GOOD.items(), (name, GOOD[name])]))
    others = [(other, content) for other, content in GOOD.items() if other != name]
    with pytest.raises(SnapshotCorruptError, match=f"expected a file {name} in it, got none"):
        read_archive(packed(tmp_path / "b.tar", others))


def test_weights_that_are_not_the_manifests_are_refused(tmp_path: Path) -> None:
    others = encode_snapshot(kettle_snapshot(7))[1]
    with pytest.raises(SnapshotCorruptError, match="a.tar: weights.safetensors: expected SHA-256"):
        read_archive(packed(tmp_path / "a.tar", [(MANIFEST, MANIFEST_BYTES), (WEIGHTS, others)]))
    with pytest.raises(SnapshotFormatError, match="a.tar: manifest.json has another form: expected form 1, got form 3"):
        read_archive(packed(tmp_path / "a.tar", [(MANIFEST, b'{"v":3}'), (WEIGHTS, others)]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no tar at all, and long enough to be looked at" * 40,
        lambda content: gzip.compress(content),
        lambda content: pickle.dumps(content),
        lambda content: content[: content.rindex(WEIGHTS.encode()) + 550],
        lambda content: content[:700],
    ],
    ids=["empty", "text", "compressed", "pickle", "half", "start"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a.tar"
    write_archive(kettle_snapshot(), file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(SnapshotCorruptError, match="a.tar: expected"):
        read_archive(file)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
def test_a_member_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    """By what its header says, and by what is really there: a hole of a terabyte."""
    info = tarfile.TarInfo(name)
    info.size = 1 << 40
    for there in (0, 1 << 40):
        (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
        os.truncate(tmp_path / "a.tar", 512 + there)
        with pytest.raises(SnapshotTooLargeError, match="a.tar.* has 1,099,511,62[0-9,]+ bytes, and at most"):
            read_archive(tmp_path / "a.tar")
    packed(tmp_path / "b.tar", list(GOOD.items()))
    with pytest.raises(SnapshotTooLargeError, match="b.tar: weights.safetensors has [0-9]+ bytes, and at most 120 are"):
        read_archive(packed(tmp_path / "b.tar", [(WEIGHTS, WEIGHTS_BYTES)]), max_bytes=120)


def test_a_chain_of_long_names_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "a.tar").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 5_000)
    with pytest.raises(SnapshotCorruptError, match="a.tar: expected a tar that `crosscurrent models export` wrote"):
        read_archive(tmp_path / "a.tar")


@pytest.mark.parametrize("size", ["-1", "x", "9" * 30, "9" * 5_000, "1e3", "0.5", ""])
def test_a_size_that_lies_is_refused(tmp_path: Path, size: str) -> None:
    info = tarfile.TarInfo(MANIFEST)
    info.pax_headers = {"size": size}
    archive = tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT)
    with archive:
        archive.addfile(info)
    with pytest.raises((SnapshotCorruptError, SnapshotTooLargeError)):
        read_archive(tmp_path / "a.tar")


def test_of_a_thousand_members_the_first_wrong_one_ends_it(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar", [*GOOD.items(), *((f"more-{number}", b"") for number in range(1_000))])
    with pytest.raises(SnapshotCorruptError, match="alone, got 'more-0'; nothing was imported"):
        read_archive(file)


def test_mutated_archives_are_refused_or_whole(tmp_path: Path) -> None:
    """Whatever byte is changed: an error that may be raised, or the snapshot as it was."""
    write_archive(kettle_snapshot(), tmp_path / "a.tar")
    good = (tmp_path / "a.tar").read_bytes()
    chance = random.Random(13)
    for _ in range(500):
        bad = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 8))):
            bad[chance.randrange(len(bad))] = chance.choice((0, 1, 0x2D, 0x30, 0x39, 0x7F, 0x80, 0xFF))
        (tmp_path / "b.tar").write_bytes(bad)
        try:
            assert read_archive(tmp_path / "b.tar") == kettle_snapshot()
        except (StoreError, SnapshotError):
            continue


def test_a_link_to_write_to_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.tar").symlink_to(tmp_path / "target.tar")
    write_archive(kettle_snapshot(), tmp_path / "link.tar")
    assert (tmp_path / "link.tar").is_symlink()
    assert read_archive(tmp_path / "link.tar") == kettle_snapshot()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(SnapshotCorruptError, match="expected a regular file, got something else"):
        read_archive(tmp_path / "a.tar")


def test_files_that_cannot_be_had_are_told(tmp_path: Path) -> None:
    with pytest.raises(SnapshotMissingError, match="there is no file .*none.tar"):
        read_archive(tmp_path / "none.tar")
    with pytest.raises(StoreUnreachableError, match="cannot be used: Is a directory"):
        read_archive(tmp_path)
    with pytest.raises(StoreUnreachableError, match="none/a.tar cannot be used: No such file or directory"):
        write_archive(kettle_snapshot(), tmp_path / "none" / "a.tar")
