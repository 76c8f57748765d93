"""A plain text → windows of character tokens: a vocabulary, one array of tokens, and records that overlap in it."""

from __future__ import annotations

import array

from reprise.ingest.idx import gunzip
from reprise.ingest.rows import Reading, Rows
from reprise_trainer.data.snapshot import Preprocessing, RecordField
from reprise_trainer.errors import InputError

FIELD = "tokens"


def read_text(data: bytes, name: str, *, block: int, stride: int | None = None, encoding: str = "utf-8") -> Reading:
    """The windows of a text, each of `block` + 1 tokens: a model sees the first `block`, each one's target is the next.

    The vocabulary is the set of the text's characters, by code point; carriage returns before line feeds are dropped.

    Args:
        data: the text, gzipped or not.
        name: its name, for messages.
        block: tokens that a model sees.
        stride: tokens from one record's start to the next one's; `block` when it is None, so that each token but the
            first of the text is a target once.
        encoding: the text's character encoding.

    Raises:
        InputError: not text in that encoding, or too short for one record.
    """
    if data[:2] == b"\x1f\x8b":
        data = gunzip(data, name)
    try:
        text = data.decode(encoding).replace("\r\n", "\n")
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(
            f"{name}: not text in {encoding}: {error}", hint="`encoding` in [data] names another."
        ) from error
    stride = stride or block
    records = (len(text) - block - 1) // stride + 1
    if records < 1:
        raise InputError(f"{name}: {len(text)} characters are too few for one record of {block + 1}")
    vocabulary = tuple(sorted(set(text)))
    numbers = {character: number for number, character in enumerate(vocabulary)}
    small = len(vocabulary) <= 256
    tokens = array.array("B" if small else "i", map(numbers.__getitem__, text))
    field = RecordField(
        name=FIELD, dtype="uint8" if small else "int32", shape=(block + 1,), classes=vocabulary, stride=stride
    )
    used = (records - 1) * stride + block + 1
    rows = Rows(name, range(0, records * stride, stride), {FIELD: tokens[:used].tobytes()})
    steps = (
        Preprocessing(step="decode", parameters={"encoding": encoding, "line_ends": "lf"}),
        Preprocessing(step="characters", parameters={"vocabulary": len(vocabulary)}),
        Preprocessing(step="windows", parameters={"length": block + 1, "stride": stride}),
    )
    return Reading((field,), {"train": [rows]}, steps)
