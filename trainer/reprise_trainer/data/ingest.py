"""Fashion-MNIST's own files → a snapshot folder. Standard library and pydantic alone: the host runs it.

Source of the file format: the MNIST page's "FILE FORMATS" (idx): big-endian magic 0x00000801 (labels: one dimension of
unsigned bytes) or 0x00000803 (images: three dimensions), then one 32-bit extent a dimension, then the bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.data.snapshot import (
    DOCUMENT,
    Provenance,
    RecordField,
    Shard,
    Snapshot,
    Split,
    encode_snapshot,
)
from reprise_trainer.durable import storage_error, sync_folder, write_durably
from reprise_trainer.errors import InputError, StorageError

NAME = "fashion-mnist"
LICENCE = "Expat"
"""As the Debian package's copyright file says (the MIT licence in SPDX's words)."""

IMAGE_EXTENT = 28
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Names of the labels 0 to 9, from the data set's README."""

SPLIT_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
"""Split → its images' and its labels' file name, as the data set's authors and the Debian package name them."""

SPLIT_RECORDS = {"train": 60_000, "test": 10_000}

RECORDS_PER_SHARD = 16_384
"""12.8 MB of images: enough shards to hash in parallel, few enough to be readable in a listing."""

_UNCOMPRESSED_LIMIT = 64 << 20
_IMAGE_MAGIC, _LABEL_MAGIC = 0x00000803, 0x00000801


def ingest_fashion_mnist(
    files: Mapping[str, bytes],
    folder: Path,
    *,
    artifact: str,
    sha256: str,
    records: Mapping[str, int] = SPLIT_RECORDS,
) -> str:
    """Write the snapshot of Fashion-MNIST into `folder`, whole or not at all.

    Args:
        files: file name → bytes, the four files of `SPLIT_FILES` (other names are ignored).
        folder: where the snapshot goes; it must not exist.
        artifact: package URL of what the files were taken from.
        sha256: bare hex digest of that artifact.
        records: split → its number of records; only tests give another.

    Returns:
        The snapshot's digest.

    Raises:
        InputError: a file is missing or is not what Fashion-MNIST's is: magic, counts, shapes, label range.
        StorageError: the folder can't be written, or exists.
    """
    columns: dict[str, tuple[bytes, bytes]] = {}
    for split, (images_name, labels_name) in SPLIT_FILES.items():
        count = records[split]
        images = _read_idx(files, images_name, _IMAGE_MAGIC, (count, IMAGE_EXTENT, IMAGE_EXTENT))
        labels = _read_idx(files, labels_name, _LABEL_MAGIC, (count,))
        if max(labels) >= len(CLASSES):
            record = next(index for index, label in enumerate(labels) if label >= len(CLASSES))
            raise InputError(
                f"{labels_name}: record {record} has label {labels[record]}, expected 0 to {len(CLASSES) - 1}"
            )
        columns[split] = (images, labels)
    return _write(folder, columns, Provenance(artifact=artifact, sha256=sha256))


def _read_idx(files: Mapping[str, bytes], name: str, magic: int, shape: tuple[int, ...]) -> bytes:
    if name not in files:
        raise InputError(f"{name}: the file is missing among {', '.join(sorted(files)) or 'no files'}")
    try:
        decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        data = decompressor.decompress(files[name], _UNCOMPRESSED_LIMIT)
    except zlib.error as error:
        raise InputError(f"{name}: not a gzip file: {error}") from error
    if not decompressor.eof:
        raise InputError(f"{name}: the gzip file is cut short, or holds more than {_UNCOMPRESSED_LIMIT} bytes")
    header = struct.Struct(f">{1 + len(shape)}I")
    if len(data) < header.size:
        raise InputError(f"{name}: {len(data)} bytes are too few for an idx header")
    found_magic, *found_shape = header.unpack_from(data)
    if found_magic != magic:
        raise InputError(f"{name}: the magic number is {found_magic:#010x}, expected {magic:#010x}")
    if tuple(found_shape) != shape:
        raise InputError(f"{name}: the shape is {tuple(found_shape)}, expected {shape}")
    body = data[header.size :]
    expected = 1
    for extent in shape:
        expected *= extent
    if len(body) != expected:
        raise InputError(f"{name}: {len(body)} bytes after the header, expected {expected}")
    return body


def _write(folder: Path, columns: Mapping[str, tuple[bytes, bytes]], provenance: Provenance) -> str:
    if folder.exists():
        raise StorageError(f"{folder}: exists already; a snapshot is never written over")
    aside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        (aside / "shards").mkdir()
        splits = {name: _write_split(aside, name, *column) for name, column in columns.items()}
        document = encode_snapshot(
            Snapshot(
                name=NAME,
                fields=(
                    RecordField(name="image", dtype="uint8", shape=(IMAGE_EXTENT, IMAGE_EXTENT)),
                    RecordField(name="label", dtype="uint8", shape=(), classes=CLASSES),
                ),
                splits=splits,
                provenance=provenance,
                licence=LICENCE,
            )
        )
        write_durably(aside / DOCUMENT, document)
        aside.chmod(0o755)
        aside.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise storage_error(error, folder) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)  # gone already when all went well
    return sha256_digest(document)


def _write_split(folder: Path, split: str, images: bytes, labels: bytes) -> Split:
    count = len(labels)
    shards: list[Shard] = []
    for field, column in (("image", images), ("label", labels)):
        record_bytes = len(column) // count
        for number, start in enumerate(range(0, count, RECORDS_PER_SHARD)):
            records = min(RECORDS_PER_SHARD, count - start)
            data = column[start * record_bytes : (start + records) * record_bytes]
            path = f"shards/{split}-{number:05d}.{field}.bin"
            write_durably(folder / path, data)
            digest = hashlib.sha256(data).hexdigest()
            shards.append(Shard(path=path, field=field, sha256=digest, records=records, size=len(data)))
    return Split(records=count, shards=tuple(shards))
