"""Fashion-MNIST's own files → rows: the data set that is built in."""

from __future__ import annotations

from collections.abc import Mapping

from reprise.ingest.idx import read_idx
from reprise.ingest.rows import Reading, Rows
from reprise_trainer.data.snapshot import RecordField
from reprise_trainer.errors import InputError

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

_FIELDS = (
    RecordField(name="image", dtype="uint8", shape=(IMAGE_EXTENT, IMAGE_EXTENT)),
    RecordField(name="label", dtype="uint8", shape=(), classes=CLASSES),
)


def read_fashion_mnist(files: Mapping[str, bytes], *, records: Mapping[str, int] = SPLIT_RECORDS) -> Reading:
    """The rows of Fashion-MNIST.

    Args:
        files: file name → bytes, the four files of `SPLIT_FILES` (other names are ignored).
        records: split → its number of records; only tests give another.

    Raises:
        InputError: a file is missing or is not what Fashion-MNIST's is: magic, counts, shapes.
    """
    splits = {}
    for split, (images_name, labels_name) in SPLIT_FILES.items():
        count = records[split]
        images = _array(files, images_name, (count, IMAGE_EXTENT, IMAGE_EXTENT))
        labels = _array(files, labels_name, (count,))
        splits[split] = [Rows(f"{images_name} with {labels_name}", range(count), {"image": images, "label": labels})]
    return Reading(_FIELDS, splits, licence=LICENCE)


def _array(files: Mapping[str, bytes], name: str, shape: tuple[int, ...]) -> bytes:
    if name not in files:
        raise InputError(f"{name}: the file is missing among {', '.join(sorted(files)) or 'no files'}")
    found = read_idx(files[name], name)
    if found.dtype != "uint8" or found.shape != shape:
        raise InputError(f"{name}: the shape is {found.shape} of {found.dtype}, expected {shape} of uint8")
    return found.data
