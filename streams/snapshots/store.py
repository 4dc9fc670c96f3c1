"""Where snapshots are kept: a folder, or anything else that fsspec has a URL for.

```
<snapshot_store>/<prefix><model>/<version>/weights.safetensors     what workers serve
                                           training.safetensors    what the trainer alone reads, where there is any
                                           manifest.json           written last: without it there is no snapshot
```

Readers see a file whole or not at all: in a folder it is written beside its place and moved there; object stores put
whole objects. Whatever is read is compared with its checksum. Everything here blocks: call it off the event loop.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from models.errors import SnapshotError
from models.snapshot import MODEL_NAME, VERSION, Snapshot
from streams.errors import SnapshotCorruptError, SnapshotMissingError, StoreError, StoreUnreachableError
from streams.settings import Settings
from streams.snapshots.format import (
    MANIFEST,
    TRAINING,
    WEIGHTS,
    Manifest,
    check_file,
    decode_arrays,
    decode_manifest,
    decode_snapshot,
    encode_arrays,
    encode_snapshot,
    sha256,
)
from streams.wire.announcements import Announcement, Announcer
from streams.wire.topics import full_name


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot in a store, without its arrays."""

    manifest: Manifest
    content: bytes
    """Of the manifest, as it lies in the store."""
    url: str
    """Of the store, without a password."""

    def announcement(self, by: Announcer) -> Announcement:
        """The record that tells workers to serve it."""
        it = self.manifest
        return Announcement(1, it.model, it.version, self.url, sha256(self.content), it.at, by)


class SnapshotStore:
    """Snapshots by model and version. Making one connects to nothing.

    Args:
        url: a folder (`~` is the home), or a URL that fsspec knows.
        prefix: before the models' folders, as before the topics' names, so that shops can share a store.

    Raises (every method, unless it says otherwise):
        StoreUnreachableError: the store does not answer or refuses, or the package for its URL is not installed.
    """

    def __init__(self, url: str, prefix: str = "") -> None:
        self._url = url
        self._prefix = prefix

    @classmethod
    def of(cls, settings: Settings) -> SnapshotStore:
        """The store of a process."""
        return cls(settings.snapshot_store, settings.prefix)

    @cached_property
    def url(self) -> str:
        """For people and for announcements: in full, without a password. Raises nothing."""
        if "://" not in self._url:
            return Path(self._url).expanduser().absolute().as_uri()
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def save(self, snapshot: Snapshot, training: Mapping[str, NDArray[Any]] | None = None) -> Stored:
        """Put a snapshot into the store; weights first, the manifest last.

        Saving one again that is there already changes nothing that a reader could see.

        Args:
            snapshot: what.
            training: the trainer's own state, such as the optimiser's: arrays of numbers by name.
        """
        extra = None if training is None else encode_arrays(training)
        manifest, weights = encode_snapshot(snapshot, extra)
        folder = self._folder(snapshot.model, snapshot.version)
        with self._asking():
            self._files.makedirs(folder, exist_ok=True)
            self._put(f"{folder}/{WEIGHTS}", weights)
            if extra is not None:
                self._put(f"{folder}/{TRAINING}", extra)
            self._put(f"{folder}/{MANIFEST}", manifest)
        return Stored(decode_manifest(manifest, self._place(folder, MANIFEST)), manifest, self.url)

    def stored(self, model: str, version: str, checksum: str | None = None) -> Stored:
        """What the manifest of a snapshot says.

        Args:
            model: name.
            version: of the snapshot.
            checksum: SHA-256 that the manifest must have; None: whatever it has.

        Raises:
            SnapshotMissingError: there is none.
            SnapshotCorruptError: it is not the one looked for.
            SnapshotFormatError: it is of another form.
        """
        folder = self._folder(model, version)
        content, place = self._get(folder, MANIFEST), self._place(folder, MANIFEST)
        if checksum is not None and (came := sha256(content)) != checksum:
            raise SnapshotCorruptError.of(place, f"SHA-256 {checksum}, as announced", came)
        manifest = decode_manifest(content, place)
        if (manifest.model, manifest.version) != (model, version):
            raise SnapshotCorruptError.of(place, f"{model} {version}", f"{manifest.model} {manifest.version}")
        return Stored(manifest, content, self.url)

    def load(self, model: str, version: str, checksum: str | None = None) -> Snapshot:
        """A snapshot, checked byte for byte. Takes its size twice in memory for a moment.

        Args: as for `stored`.

        Raises:
            SnapshotMissingError: there is none, or its weights are not there.
            SnapshotCorruptError: a file is not what was put there.
            SnapshotFormatError: it is of another form.
            SnapshotShapeError: an array is not as the manifest says.
        """
        manifest = self.stored(model, version, checksum).manifest
        folder = self._folder(model, version)
        return decode_snapshot(manifest, self._get(folder, WEIGHTS), self._place(folder, WEIGHTS))

    def training(self, model: str, version: str) -> dict[str, NDArray[Any]] | None:
        """The trainer's own state as of a snapshot, read-only; None where none was kept (an imported one has none).

        Raises:
            SnapshotMissingError: there is no such snapshot, or the file is not there.
            SnapshotCorruptError: a file is not what was put there.
            SnapshotFormatError: it is of another form.
        """
        form = self.stored(model, version).manifest.training
        if form is None:
            return None
        folder = self._folder(model, version)
        content, place = self._get(folder, TRAINING), self._place(folder, TRAINING)
        check_file(content, form, place)
        return decode_arrays(content, place)

    def newest(self, model: str) -> Stored | None:
        """What the manifest of the newest snapshot says; None: there is none."""
        versions = self.versions(model)
        return self.stored(model, versions[-1]) if versions else None

    def versions(self, model: str) -> list[str]:
        """Versions that are there as a whole, oldest first."""
        return [version for version in self._folders(model) if self._is_whole(model, version)]

    def is_intact(self, model: str, version: str) -> bool:
        """Whether a snapshot is there and can be loaded."""
        try:
            self.load(model, version)
        except StoreUnreachableError:
            raise
        except (StoreError, SnapshotError):
            return False
        return True

    def prune(self, model: str, keep: int, served: Collection[str]) -> list[str]:
        """Delete all but the newest snapshots of a model.

        What is half written and older than those kept goes, too: whoever began it has died.

        Args:
            model: name.
            keep: how many of the newest stay, at least 1.
            served: versions that stay whatever their age: the one announced above all.

        Returns:
            Versions that were deleted, oldest first.
        """
        kept = self.versions(model)[-max(1, keep) :]
        oldest_kept = kept[0] if kept else ""
        gone = [one for one in self._folders(model) if one < oldest_kept and one not in served]
        for version in gone:
            self._delete(model, version)
        return gone

    @cached_property
    def _located(self) -> tuple[Any, str]:
        found: tuple[Any, str] = url_to_fs(self._url)
        return found

    @property
    def _files(self) -> Any:
        return self._located[0]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Every driver has errors of its own; what is not caught within means that the store cannot be used."""
        try:
            yield
        except Exception as error:
            raise StoreUnreachableError.of(self.url, error) from error

    def _folder(self, model: str, version: str) -> str:
        """Where a snapshot lies; nobody leads us elsewhere by a name."""
        if not VERSION.match(version):
            raise SnapshotMissingError.named(model, version)
        return f"{self._model_folder(model)}/{version}"

    def _model_folder(self, model: str) -> str:
        if not MODEL_NAME.match(model):
            raise SnapshotMissingError.model(model)
        with self._asking():
            return f"{self._located[1].rstrip('/')}/{full_name(self._prefix, model)}"

    def _place(self, folder: str, file: str) -> str:
        """What to call a file in an error."""
        return f"{self.url.rstrip('/')}/{'/'.join(folder.split('/')[-2:])}/{file}"

    def _get(self, folder: str, file: str) -> bytes:
        with self._asking():
            try:
                content: bytes = self._files.cat_file(f"{folder}/{file}")
            except FileNotFoundError:
                pass
            else:
                return content
        raise SnapshotMissingError.file(self._place(folder, file))

    def _put(self, path: str, content: bytes) -> None:
        if not isinstance(self._files, LocalFileSystem):
            self._files.pipe_file(path, content)
            return
        beside = Path(f"{path}.{uuid.uuid4().hex}")
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def _folders(self, model: str) -> list[str]:
        """Versions that are there, also half written ones, oldest first."""
        folder = self._model_folder(model)
        with self._asking():
            self._files.invalidate_cache()
            try:
                names = self._files.ls(folder, detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for path in names if VERSION.match(name := path.rstrip("/").rpartition("/")[2]))

    def _is_whole(self, model: str, version: str) -> bool:
        folder = self._folder(model, version)
        with self._asking():
            whole: bool = self._files.exists(f"{folder}/{MANIFEST}")
            return whole

    def _delete(self, model: str, version: str) -> None:
        """The manifest first: what is half deleted is no snapshot."""
        folder = self._folder(model, version)
        with self._asking():
            for path, recursive in ((f"{folder}/{MANIFEST}", False), (folder, True)):
                try:
                    self._files.rm(path, recursive=recursive)
                except FileNotFoundError:  # of object stores a folder goes with its last object
                    continue
