"""The store of snapshots: a folder, or any URL that fsspec knows.

```
<snapshot_store>/<prefix><model>/<version>/weights.safetensors     what workers serve
                                           training.safetensors    what only the trainer reads (optional)
                                           manifest.json           written last: without it there is no snapshot
```

Readers see a file whole or not at all: in a folder it is written under another name and renamed; object stores put
whole objects. What cannot be saved whole, as on a full disk, is deleted. A file's size is looked at before it is read,
and all that is read is compared with its checksum. Everything here blocks: call it off the event loop.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from models.errors import SnapshotError
from models.snapshot import MODEL_NAME, VERSION, Snapshot
from streams.errors import (
    SnapshotCorruptError,
    SnapshotMissingError,
    SnapshotTooLargeError,
    StoreError,
    StoreUnreachableError,
)
from streams.settings import Settings
from streams.snapshots.format import (
    MANIFEST,
    MAX_BYTES,
    MAX_MANIFEST_BYTES,
    TRAINING,
    WEIGHTS,
    FileForm,
    Manifest,
    check_file,
    decode_arrays,
    decode_manifest,
    decode_snapshot,
    encode_arrays,
    encode_snapshot,
    sha256,
)
from streams.snapshots.masking import masked, without_secrets
from streams.wire.announcements import Announcement, Announcer
from streams.wire.topics import full_name


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot in a store, without its arrays."""

    manifest: Manifest
    content: bytes  # of the manifest, as stored
    url: str  # of the store, without secrets

    def announcement(self, by: Announcer) -> Announcement:
        """The record that tells workers to serve it."""
        manifest = self.manifest
        return Announcement(1, manifest.model, manifest.version, self.url, sha256(self.content), manifest.at, by)


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file, under another name until it is whole.

    Raises:
        OSError: it cannot be written, as on a full disk; what stood there before stays.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class SnapshotStore:
    """Snapshots by model and version. The constructor connects to nothing.

    The prefix stands before the models' folders, as before topic names, so that shops can share a store. `max_bytes` is
    the most of one file.

    Raises (every method, unless it says otherwise):
        StoreUnreachableError: the store does not answer or refuses, or the package for its URL is not installed.
    """

    def __init__(self, url: str, prefix: str = "", max_bytes: int = MAX_BYTES) -> None:
        self._url = url
        self._prefix = prefix
        self._max_bytes = max_bytes

    @classmethod
    def of(cls, settings: Settings) -> SnapshotStore:
        """The store of a process."""
        return cls(settings.snapshot_store, settings.prefix, settings.snapshot_bytes)

    @cached_property
    def url(self) -> str:
        """For people and for announcements: in full, without secrets. Raises nothing."""
        if "://" not in self._url:
            return Path(self._url).expanduser().absolute().as_uri()
        return without_secrets(self._url)

    def save(self, snapshot: Snapshot, training: Mapping[str, NDArray[Any]] | None = None) -> Stored:
        """Save a snapshot and the trainer's own state, the manifest last. Readers do not notice a second save.

        Raises:
            SnapshotTooLargeError: a file would be too long to be read again.
        """
        extra = None if training is None else encode_arrays(training)
        manifest, weights = encode_snapshot(snapshot, extra)
        folder = self._folder(snapshot.model, snapshot.version)
        contents = {WEIGHTS: weights, TRAINING: extra, MANIFEST: manifest}
        for file, content in contents.items():
            self._check_size(file, len(content or b""), self._place(folder, file))
        try:
            with self._using_store():
                self._files.makedirs(folder, exist_ok=True)
                for file, content in contents.items():
                    if content is not None:
                        self._put(f"{folder}/{file}", content)
        except StoreUnreachableError:
            self._discard_incomplete(folder)
            raise
        return Stored(decode_manifest(manifest, self._place(folder, MANIFEST)), manifest, self.url)

    def stored(self, model: str, version: str, checksum: str | None = None) -> Stored:
        """A snapshot without its arrays; its manifest must have the SHA-256 `checksum`, if one is given.

        Raises:
            SnapshotMissingError: there is none.
            SnapshotCorruptError: it has another checksum, model or version.
            SnapshotFormatError: it has another form.
        """
        content, place = self._read(model, version, MANIFEST)
        if checksum is not None and (came := sha256(content)) != checksum:
            raise SnapshotCorruptError.of(place, f"SHA-256 {checksum}, as announced", came)
        manifest = decode_manifest(content, place)
        if (manifest.model, manifest.version) != (model, version):
            raise SnapshotCorruptError.of(place, f"{model} {version}", f"{manifest.model} {manifest.version}")
        return Stored(manifest, content, self.url)

    def load(self, model: str, version: str, checksum: str | None = None) -> Snapshot:
        """A snapshot, checked byte for byte, as for `stored`. Takes twice its size in memory for a moment.

        Raises:
            SnapshotMissingError: the snapshot or its weights are missing.
            SnapshotCorruptError: a file is not what was saved.
            SnapshotFormatError: it has another form.
            SnapshotShapeError: an array does not match the manifest.
        """
        manifest = self.stored(model, version, checksum).manifest
        return decode_snapshot(manifest, *self._read(model, version, WEIGHTS, manifest.weights))

    def training(self, model: str, version: str) -> dict[str, NDArray[Any]] | None:
        """The trainer's own state as of a snapshot, read-only; None if none was saved (as with an imported one).

        Raises:
            SnapshotMissingError: the snapshot or the file is missing.
            SnapshotCorruptError: a file is not what was saved.
            SnapshotFormatError: it has another form.
        """
        form = self.stored(model, version).manifest.training
        if form is None:
            return None
        content, place = self._read(model, version, TRAINING, form)
        check_file(content, form, place)
        return decode_arrays(content, place)

    def newest(self, model: str) -> Stored | None:
        """The newest snapshot without its arrays; None: there is none."""
        versions = self.versions(model)
        return self.stored(model, versions[-1]) if versions else None

    def versions(self, model: str) -> list[str]:
        """Complete versions, oldest first."""
        folder, versions = self._model_folder(model), self._folders(model)
        with self._using_store():
            return [version for version in versions if self._files.exists(f"{folder}/{version}/{MANIFEST}")]

    def is_intact(self, model: str, version: str) -> bool:
        """Whether a snapshot can be loaded."""
        try:
            self.load(model, version)
        except StoreUnreachableError:
            raise
        except (StoreError, SnapshotError):
            return False
        return True

    def prune(self, model: str, keep: int, served: Collection[str]) -> list[str]:
        """Delete all but the newest `keep` (at least one) and the `served` versions; returns the deleted, oldest first.

        Incomplete ones that are older than those kept are deleted, too: their writer has died.
        """
        kept = self.versions(model)[-max(1, keep) :]
        oldest_kept = kept[0] if kept else ""
        deleted = [version for version in self._folders(model) if version < oldest_kept and version not in served]
        folder = self._model_folder(model)
        with self._using_store():
            for version in deleted:  # the manifest first, so that an interrupted call leaves no snapshot
                for path, recursive in ((f"{folder}/{version}/{MANIFEST}", False), (f"{folder}/{version}", True)):
                    with suppress(FileNotFoundError):  # in object stores a folder goes with its last object
                        self._files.rm(path, recursive=recursive)
        return deleted

    @cached_property
    def _located(self) -> tuple[Any, str]:
        """File system and path."""
        located: tuple[Any, str] = url_to_fs(self._url)
        return located

    @property
    def _files(self) -> Any:
        return self._located[0]

    @contextmanager
    def _using_store(self) -> Iterator[None]:
        """Every driver has its own errors: all that leave this context mean that the store cannot be used."""
        try:
            yield
        except Exception as error:
            reason = str(error) or type(error).__name__
            if (shown := masked(reason, self._url)) != reason:
                raise StoreUnreachableError.of(self.url, shown) from None  # a traceback would show the secret
            raise StoreUnreachableError.of(self.url, reason) from error

    def _folder(self, model: str, version: str) -> str:
        """Path of a snapshot's folder. A name cannot lead outside the store."""
        if not VERSION.match(version):
            raise SnapshotMissingError.named(model, version)
        return f"{self._model_folder(model)}/{version}"

    def _model_folder(self, model: str) -> str:
        if not MODEL_NAME.match(model):
            raise SnapshotMissingError.model(model)
        with self._using_store():
            return f"{self._located[1].rstrip('/')}/{full_name(self._prefix, model)}"

    def _place(self, folder: str, file: str) -> str:
        """Name of a file in errors."""
        return f"{self.url.rstrip('/')}/{'/'.join(folder.split('/')[-2:])}/{file}"

    def _read(self, model: str, version: str, file: str, form: FileForm | None = None) -> tuple[bytes, str]:
        """Content of a file, of the size that the manifest says if one is given; and its name in errors."""
        folder = self._folder(model, version)
        path, place = f"{folder}/{file}", self._place(folder, file)
        try:
            with self._using_store():
                info = self._files.info(path)
        except StoreUnreachableError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise SnapshotMissingError.file(place) from error
            raise
        if info["type"] != "file":  # reading a pipe may never end
            raise SnapshotCorruptError.of(place, "a file", f"something of type {info['type']!r:.20}")
        size = info["size"]
        self._check_size(file, size, place)
        if form is not None and size != form.bytes:
            raise SnapshotCorruptError.of(place, f"{form.bytes} bytes", str(size))
        with self._using_store():
            content: bytes = self._files.cat_file(path, 0, size) if size else b""
        return content, place

    def _check_size(self, file: str, size: int, place: str) -> None:
        most = min(self._max_bytes, MAX_MANIFEST_BYTES) if file == MANIFEST else self._max_bytes
        if size > most:
            raise SnapshotTooLargeError.of(place, size, most)

    def _discard_incomplete(self, folder: str) -> None:
        """Delete what was saved of a snapshot, as it takes room, unless it was complete before."""
        with suppress(Exception):
            if not self._files.exists(f"{folder}/{MANIFEST}"):
                self._files.rm(folder, recursive=True)

    def _put(self, path: str, content: bytes) -> None:
        if not isinstance(self._files, LocalFileSystem):
            self._files.pipe_file(path, content)
            return
        write_whole(Path(path), content)

    def _folders(self, model: str) -> list[str]:
        """All versions, also incomplete ones, oldest first."""
        folder = self._model_folder(model)
        with self._using_store():
            self._files.invalidate_cache()
            try:
                names = self._files.ls(folder, detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for path in names if VERSION.match(name := path.rstrip("/").rpartition("/")[2]))
