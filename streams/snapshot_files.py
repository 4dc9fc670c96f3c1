"""The files of a snapshot: what its bytes mean, and whether they are all there.

`manifest.json` holds everything but the arrays, `weights.safetensors` the arrays, and `training.safetensors` what the
trainer alone reads. No pickle anywhere: what reads them runs nothing that is in them.

The manifest names size and SHA-256 of the others, name, shape and kind of every array, and the version, which is a
function of the whole; the announcement names the SHA-256 of the manifest. So every byte that is served is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.snapshots import MODEL_NAME, VERSION, Snapshot
from streams.errors import SnapshotCorruptError

FORMAT = 1
"""Form of the files; a reader refuses others."""

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
TRAINING = "training.safetensors"

Number = int | float
Whole = Annotated[int, Meta(ge=0)]


class FileForm(msgspec.Struct, frozen=True):
    """A file beside the manifest."""

    bytes: Whole
    sha256: str


class ArrayForm(msgspec.Struct, frozen=True):
    """An array of the weights."""

    dtype: str
    """As numpy calls it, such as `float32`."""
    shape: list[Whole]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a snapshot but its arrays; see [`models.snapshots.Snapshot`][]."""

    v: Literal[1] = 1
    model: Annotated[str, Meta(pattern=f"^{MODEL_NAME.pattern}")]
    version: Annotated[str, Meta(pattern=f"^{VERSION.pattern}")]
    code: str
    at: float
    learnt: dict[str, Number]
    metrics: dict[str, Number]
    positions: dict[str, dict[Whole, Whole]]
    topic_ids: dict[str, str]
    config: dict[str, Any]
    weights: FileForm
    arrays: dict[str, ArrayForm]
    training: FileForm | None
    """The trainer's own state; None: none was kept."""
    vocabulary: list[str]


class _Form(msgspec.Struct):
    v: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Manifest).decode
_decode_form = msgspec.json.Decoder(_Form).decode


def sha256(content: bytes) -> str:
    """Checksum of a file, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def encode_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A file of arrays. The same arrays give the same bytes."""
    return safetensors.save({name: np.array(array, order="C", copy=None) for name, array in arrays.items()})


def decode_arrays(content: bytes, place: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, read-only.

    Args:
        content: of the file.
        place: what to call it in an error.

    Raises:
        SnapshotCorruptError: it is no such file.
    """
    try:
        arrays = safetensors.load(content)
    except (SafetensorError, ValueError, KeyError) as error:  # KeyError: of a kind of number that numpy has not
        raise SnapshotCorruptError.of(place, "arrays in safetensors", repr(error)) from error
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def encode_snapshot(snapshot: Snapshot, training: bytes | None = None) -> tuple[bytes, bytes]:
    """Manifest and weights.

    Args:
        snapshot: what.
        training: content of the trainer's own file, where there is one.
    """
    weights = encode_arrays(snapshot.arrays)
    described = snapshot.described()
    manifest = Manifest(
        **described,
        version=snapshot.version,
        weights=FileForm(len(weights), sha256(weights)),
        arrays={name: ArrayForm(a.dtype.name, list(a.shape)) for name, a in sorted(snapshot.arrays.items())},
        training=None if training is None else FileForm(len(training), sha256(training)),
        vocabulary=list(snapshot.vocabulary),
    )
    return _encode(manifest), weights


def decode_manifest(content: bytes, place: str) -> Manifest:
    """The manifest that a file holds.

    Args:
        content: of the file.
        place: what to call it in an error.

    Raises:
        SnapshotFormatError: of another form.
        SnapshotCorruptError: it is none.
    """
    try:
        form = _decode_form(content).v
        if form != FORMAT:
            raise SnapshotFormatError.of(place, f"form {FORMAT}", f"form {form}")
        return _decode(content)
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors, and so is bad UTF-8
        raise SnapshotCorruptError.of(place, "a manifest", f"something else ({error})") from error


def check_file(content: bytes, form: FileForm, place: str) -> None:
    """Compare a file with what the manifest says of it.

    Raises:
        SnapshotCorruptError: it is another one.
    """
    if len(content) != form.bytes:
        raise SnapshotCorruptError.of(place, f"{form.bytes} bytes", str(len(content)))
    if (came := sha256(content)) != form.sha256:
        raise SnapshotCorruptError.of(place, f"SHA-256 {form.sha256}", came)


def decode_snapshot(manifest: Manifest, weights: bytes, place: str) -> Snapshot:
    """The snapshot, with everything compared that the manifest says.

    Args:
        manifest: of it.
        weights: content of the file.
        place: what to call that file in an error.

    Raises:
        SnapshotCorruptError: the weights are not the manifest's, or the manifest is not its version's.
        SnapshotShapeError: a field is not what it must be.
    """
    check_file(weights, manifest.weights, place)
    arrays = decode_arrays(weights, place)
    forms = {name: ArrayForm(array.dtype.name, list(array.shape)) for name, array in arrays.items()}
    if forms != manifest.arrays:
        named = sorted(set(forms) | set(manifest.arrays))
        name = next(name for name in named if forms.get(name) != manifest.arrays.get(name))
        expected, came = (
            "no such array" if form is None else f"{form.dtype} {tuple(form.shape)}"
            for form in (manifest.arrays.get(name), forms.get(name))
        )
        raise SnapshotShapeError.array(place, name, expected, came)
    snapshot = Snapshot(
        model=manifest.model,
        code=manifest.code,
        arrays=arrays,
        vocabulary=tuple(manifest.vocabulary),
        config=manifest.config,
        positions=manifest.positions,
        learnt=manifest.learnt,
        metrics=manifest.metrics,
        at=manifest.at,
        topic_ids=manifest.topic_ids,
    )
    if snapshot.version != manifest.version:
        wanted, came = f"the contents of version {manifest.version}", f"those of {snapshot.version}"
        raise SnapshotCorruptError.of(place, wanted, came)
    return snapshot
