"""A snapshot as one file, to carry it from store to store: a plain tar of its manifest and its weights.

The trainer's own state stays behind. A tar can name any path, link anywhere and claim any size; so nothing is unpacked
to a disk, and one with anything but these two plain files in it is refused.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from models.snapshot import Snapshot
from streams.errors import SnapshotCorruptError, SnapshotMissingError, StoreUnreachableError
from streams.snapshots.format import MANIFEST, WEIGHTS, decode_manifest, decode_snapshot, encode_snapshot

NAMES = (MANIFEST, WEIGHTS)


def write_archive(snapshot: Snapshot, path: Path) -> int:
    """Write a snapshot to a file. The same snapshot gives the same bytes.

    Returns:
        Bytes of the file.

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
        path.write_bytes(packed.getbuffer())
    except OSError as error:
        raise StoreUnreachableError.archive(path, error) from error
    return packed.getbuffer().nbytes


def read_archive(path: Path) -> Snapshot:
    """The snapshot in a file that `write_archive` wrote, checked as one from a store is.

    Raises:
        SnapshotMissingError: there is no such file.
        StoreUnreachableError: it cannot be read.
        SnapshotCorruptError: it is no such file, holds anything else, or not what its manifest says.
        SnapshotFormatError: it is of another form.
        SnapshotShapeError: an array is not as the manifest says.
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            contents = _contents(archive, path)
    except FileNotFoundError as error:
        raise SnapshotMissingError.archive(path) from error
    except OSError as error:
        raise StoreUnreachableError.archive(path, error) from error
    except tarfile.TarError as error:
        raise SnapshotCorruptError.archive(path, "a tar that `crosscurrent models export` wrote", str(error)) from error
    manifest = decode_manifest(contents[MANIFEST], f"{path}: {MANIFEST}")
    return decode_snapshot(manifest, contents[WEIGHTS], f"{path}: {WEIGHTS}")


def _contents(archive: tarfile.TarFile, path: Path) -> Mapping[str, bytes]:
    """Contents of the two files, and no others."""
    contents: dict[str, bytes] = {}
    for member in archive:
        if member.name not in NAMES or not member.isreg() or member.issparse():
            came = f"{member.name!r:.80}" + ("" if member.isreg() and not member.issparse() else ", no plain file")
            raise SnapshotCorruptError.archive(path, f"the plain files {' and '.join(NAMES)} alone", came)
        if member.name in contents:
            raise SnapshotCorruptError.archive(path, f"one {member.name}", "two")
        file = archive.extractfile(member)
        contents[member.name] = b"" if file is None else file.read()
    for name in NAMES:
        if name not in contents:
            raise SnapshotCorruptError.archive(path, f"a file {name} in it", "none")
    return contents
