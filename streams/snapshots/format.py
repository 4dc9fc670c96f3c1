"""The files of a snapshot: encoding and checks.

`manifest.json` holds everything but the arrays, `weights.safetensors` the arrays, and `training.safetensors` what only
the trainer reads. None is a pickle, so reading them runs no code.

The manifest has size and SHA-256 of the other files, name, shape and dtype of every array, and the version, which is a
hash of the content. The announcement has the SHA-256 of the manifest. So every byte that is served is checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from models.errors import SnapshotFormatError, SnapshotShapeError
from models.snapshot import MODEL_NAME, VERSION, Snapshot, slices
from streams.errors import SnapshotCorruptError

FORMAT = 1
"""Version of the files' form; readers refuse others."""

MAX_BYTES = 2 << 30
"""Most bytes of one file, by default. For a million items, weights take 0.3 GB and the trainer's own state 0.8 GB."""

MAX_MANIFEST_BYTES = 256 << 20
"""... of the manifest, whose largest part are the ids: those of a million items take 10 to 50 MB."""

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


class Manifest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything of a snapshot but its arrays; see [`models.snapshot.Snapshot`][]."""

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
    """The trainer's own state; None: none was saved."""
    vocabulary: list[msgspec.Raw]
    """Ids by slot, in lists of `SLICE`: decoding a million at once would block all threads of the process."""

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids by slot, empty where a slot is free. Raises ValueError for anything else."""
        return tuple(chain.from_iterable(map(_decode_ids, self.vocabulary)))


class _Form(msgspec.Struct):
    v: int


class _Tensor(msgspec.Struct):
    """An array in the header of a safetensors file."""

    dtype: Literal["BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"]
    shape: list[Whole]
    data_offsets: tuple[Whole, Whole]


DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
        "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    }.items()
}  # fmt: skip
"""By safetensors' names."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Manifest).decode
_decode_form = msgspec.json.Decoder(_Form).decode
_decode_ids = msgspec.json.Decoder(list[str]).decode
_decode_header = msgspec.json.Decoder(dict[str, _Tensor]).decode


def sha256(content: bytes) -> str:
    """Checksum in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def encode_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode arrays by name. The same arrays give the same bytes."""
    return safetensors.save({name: np.array(array, order="C", copy=None) for name, array in arrays.items()})


def decode_arrays(content: bytes, place: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, as read-only views of its content; `place` names the file in errors.

    The library's reader copies them while it holds the GIL, a second for 400 MB, in which a worker could not answer.
    The form: eight bytes with the length of the header, the header in JSON with the position of each array, and the
    arrays without gaps to the end of the file.

    Raises:
        SnapshotCorruptError: it is no such file.
    """
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        if start > len(content):
            message = f"a header of {start - 8} bytes in a file of {len(content)}"
            raise ValueError(message)
        header = _decode_header(content[8:start])
        arrays, end = {}, 0
        for name, tensor in sorted(header.items(), key=lambda entry: entry[1].data_offsets):
            first, end = _after(end, tensor, name)
            if start + end > len(content):
                message = f"array {name!r:.80} up to byte {start + end} of {len(content)}"
                raise ValueError(message)
            flat = np.frombuffer(content, DTYPES[tensor.dtype], math.prod(tensor.shape), start + first)
            arrays[name] = np.require(flat.reshape(tensor.shape), requirements="A")
            arrays[name].setflags(write=False)
        if start + end != len(content):
            message = f"arrays up to byte {start + end} of {len(content)}"
            raise ValueError(message)
    except (ValueError, OverflowError, RecursionError) as error:  # msgspec's are ValueErrors, and so is bad UTF-8
        raise SnapshotCorruptError.of(place, "arrays in safetensors", f"something else ({error})") from error
    return arrays


def _after(end: int, tensor: _Tensor, name: str) -> tuple[int, int]:
    """First byte and end of an array, which must follow the previous one and be as long as its shape says."""
    first, last = tensor.data_offsets
    size = math.prod(tensor.shape) * DTYPES[tensor.dtype].itemsize
    if first != end or last != first + size:
        message = f"array {name!r:.80} at bytes {first} to {last}, not {end} to {end + size}"
        raise ValueError(message)
    return first, last


def encode_snapshot(snapshot: Snapshot, training: bytes | None = None) -> tuple[bytes, bytes]:
    """Manifest and weights; `training` is the content of the trainer's own file, if there is one."""
    weights = encode_arrays(snapshot.arrays)
    manifest = Manifest(
        **snapshot.described(),
        version=snapshot.version,
        weights=FileForm(len(weights), sha256(weights)),
        arrays={name: ArrayForm(a.dtype.name, list(a.shape)) for name, a in sorted(snapshot.arrays.items())},
        training=None if training is None else FileForm(len(training), sha256(training)),
        vocabulary=[msgspec.Raw(_encode(ids)) for ids in slices(snapshot.vocabulary)],
    )
    return _encode(manifest), weights


def decode_manifest(content: bytes, place: str) -> Manifest:
    """Decode a manifest; `place` names the file in errors.

    Raises:
        SnapshotFormatError: it has another form.
        SnapshotCorruptError: it is none.
    """
    try:
        form = _decode_form(content).v
        if form != FORMAT:
            raise SnapshotFormatError.of(place, f"form {FORMAT}", f"form {form}")
        manifest = _decode(content)
        len(manifest.ids)  # decoded here, so that an error names the file
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors, and so is bad UTF-8
        raise SnapshotCorruptError.of(place, "a manifest", f"something else ({error})") from error
    return manifest


def check_file(content: bytes, form: FileForm, place: str) -> None:
    """Compare a file with the manifest.

    Raises:
        SnapshotCorruptError: size or checksum differ.
    """
    if len(content) != form.bytes:
        raise SnapshotCorruptError.of(place, f"{form.bytes} bytes", str(len(content)))
    if (came := sha256(content)) != form.sha256:
        raise SnapshotCorruptError.of(place, f"SHA-256 {form.sha256}", came)


def decode_snapshot(manifest: Manifest, weights: bytes, place: str) -> Snapshot:
    """The snapshot of a manifest and its file of weights, fully checked; `place` names the file in errors.

    Raises:
        SnapshotCorruptError: the weights do not match the manifest, or the content not its version.
        SnapshotShapeError: a field is wrong.
    """
    check_file(weights, manifest.weights, place)
    arrays = decode_arrays(weights, place)
    forms = {name: ArrayForm(array.dtype.name, list(array.shape)) for name, array in arrays.items()}
    if forms != manifest.arrays:
        named = sorted(set(forms) | set(manifest.arrays))
        name = next(name for name in named if forms.get(name) != manifest.arrays.get(name))
        expected, came = (
            f"{form.dtype} {tuple(form.shape)}" if form else "no such array"
            for form in (manifest.arrays.get(name), forms.get(name))
        )
        raise SnapshotShapeError.array(place, name, expected, came)
    snapshot = Snapshot(
        model=manifest.model,
        code=manifest.code,
        arrays=arrays,
        vocabulary=manifest.ids,
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
