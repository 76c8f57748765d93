"""A checkpoint's document: what `state.json` holds, as canonical JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError
from reprise_trainer.training.checkpoints.state_digest import CHUNK, FORMAT, Row, rows_digest

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StoredRow(_Model):
    """See `Row`."""

    name: str
    dtype: str
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    chunks: tuple[_Hash, ...]


class Document(_Model):
    """`aliases`: second names of tensors → the name that each is stored under. They are not part of the state."""

    format: Literal[2] = FORMAT
    chunk: Literal[1048576] = CHUNK
    step: int = Field(ge=0)
    state: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    tensors: tuple[StoredRow, ...]
    aliases: dict[str, str]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the state's tensors, sorted by name."""
        return tuple(Row(row.name, row.dtype, row.shape, row.chunks) for row in self.tensors)

    def encode(self) -> bytes:
        """The document's one text."""
        return canonical_json(self.model_dump(mode="json"))


def describe(step: int, rows: tuple[Row, ...], aliases: Mapping[str, str]) -> Document:
    """The document of the state after `step` steps with these tensors."""
    stored = tuple(StoredRow(name=row.name, dtype=row.dtype, shape=row.shape, chunks=row.chunks) for row in rows)
    return Document(step=step, state=rows_digest(rows), tensors=stored, aliases=dict(aliases))


def read_document(data: bytes) -> Document:
    """The document in a file's bytes; whether its list is that of its state is not judged here.

    Raises:
        InputError: not such a document, of another format, or an alias of nothing.
    """
    try:
        document = Document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}") from error
    names = {row.name for row in document.tensors}
    if any(name in names or target not in names for name, target in document.aliases.items()):
        raise InputError("aliases: a name is stored itself, or stands for a tensor that is not stored")
    return document
