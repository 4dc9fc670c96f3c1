"""A snapshot as one file, to move it between stores: a plain tar of its manifest and its weights.

The trainer's own state is left out. A tar can name any path, link anywhere and claim any size, so nothing is unpacked
to disk, and a tar with anything but these two plain files is refused.
"""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path

from models.snapshot import Snapshot
from streams.errors import SnapshotCorruptError, SnapshotMissingError, SnapshotTooLargeError, StoreUnreachableError
from streams.snapshots.format import (
    MANIFEST,
    MAX_BYTES,
    MAX_MANIFEST_BYTES,
    WEIGHTS,
    decode_manifest,
    decode_snapshot,
    encode_snapshot,
)
from streams.snapshots.store import write_whole

NAMES = (MANIFEST, WEIGHTS)


def write_archive(snapshot: Snapshot, path: Path) -> int:
    """Write a snapshot to a file, and return its size. The same snapshot gives the same bytes.

    Raises:
        StoreUnreachableError: the file cannot be written.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in zip(NAMES, encode_snapshot(snapshot), strict=True):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):  # such as /dev/stdout
            path.write_bytes(packed.getbuffer())
        else:
            write_whole(path, packed.getbuffer())
    except OSError as error:
        raise StoreUnreachableError.archive(path, error) from error
    return packed.getbuffer().nbytes


def read_archive(path: Path, max_bytes: int = MAX_BYTES) -> Snapshot:
    """The snapshot in a file that `write_archive` wrote, checked like one from a store.

    Raises:
        SnapshotMissingError: there is no such file.
        StoreUnreachableError: it cannot be read.
        SnapshotTooLargeError: a file in it would be longer than `max_bytes`.
        SnapshotCorruptError: it is no such tar, holds anything else, or does not match its manifest.
        SnapshotFormatError: it has another form.
        SnapshotShapeError: an array does not match the manifest.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a pipe may never end
            raise SnapshotCorruptError.archive(path, "a regular file", "something else")
        if status.st_size > (most := max_bytes + MAX_MANIFEST_BYTES):
            raise SnapshotTooLargeError.of(str(path), status.st_size, most)
        with tarfile.open(path, mode="r:") as archive:
            contents = _contents(archive, path, max_bytes)
    except FileNotFoundError as error:
        raise SnapshotMissingError.archive(path) from error
    except OSError as error:
        raise StoreUnreachableError.archive(path, error) from error
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:  # of headers that lie
        raise SnapshotCorruptError.archive(path, "a tar that `crosscurrent models export` wrote", str(error)) from error
    manifest = decode_manifest(contents[MANIFEST], f"{path}: {MANIFEST}")
    return decode_snapshot(manifest, contents[WEIGHTS], f"{path}: {WEIGHTS}")


def _contents(archive: tarfile.TarFile, path: Path, max_bytes: int) -> Mapping[str, bytes]:
    """Contents of the two files."""
    contents: dict[str, bytes] = {}
    for member in archive:
        plain = member.isreg() and not member.issparse()
        if member.name not in NAMES or not plain:
            came = f"{member.name!r:.80}" + ("" if plain else ", no plain file")
            raise SnapshotCorruptError.archive(path, f"the plain files {' and '.join(NAMES)} alone", came)
        if member.name in contents:
            raise SnapshotCorruptError.archive(path, f"one {member.name}", "two")
        most = min(max_bytes, MAX_MANIFEST_BYTES) if member.name == MANIFEST else max_bytes
        if member.size > most:
            place = f"{path}: {member.name}"
            raise SnapshotTooLargeError.of(place, member.size, most)
        file = archive.extractfile(member)
        contents[member.name] = b"" if file is None else file.read()
    for name in NAMES:
        if name not in contents:
            raise SnapshotCorruptError.archive(path, f"a file {name} in it", "none")
    return contents
