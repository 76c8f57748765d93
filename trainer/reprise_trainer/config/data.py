"""`[data]`: which data the snapshot is made from, how they are read, what is allowed of them; one table a `kind`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from reprise_trainer.config.code import CodeSection
from reprise_trainer.config.section import Section
from reprise_trainer.entry_point import PATTERN

SplitName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Dtype = Literal["uint8", "int32", "int64", "float32"]


class Place(Section):
    """Where a source lies; the sha256 says what it is."""

    artifact: str = Field(
        default="", pattern=r"^(pkg:.*)?$", description="Package URL of the file that holds the data."
    )
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="The artifact's or file's sha256, hex; of a folder, that of its list."
    )
    path: str = Field(default="", description="Where the artifact lies in its distribution; a hint, never a host.")
    file: str = Field(
        default="", description="Instead of an artifact: a file or folder beside the configuration, by relative path."
    )
    member: str = Field(default="", description="The file inside the artifact (a Debian package) that holds the data.")

    @model_validator(mode="after")
    def _one_source(self) -> Place:
        if bool(self.artifact) == bool(self.file):
            raise ValueError("give either artifact or file, and not both")
        return self


class AugmentSection(Section):
    """`[data.augment]`: what is drawn anew for each training record in each epoch."""

    field: FieldName = Field(default="image", description="The field of images that is changed.")
    shift: int = Field(default=0, ge=0, le=256, description="Largest shift along either axis, in pixels.")
    flip: bool = Field(default=False, description="Whether half of the images are mirrored, left to right.")


class Loading(Section):
    """How training reads the snapshot; no part of what the snapshot is."""

    order: Literal["auto", "whole", "windows", "shards"] = Field(
        default="auto",
        description="How far records are permuted: `whole`, or in `windows` that are read in turn, or in those of "
        "whole `shards`; `auto`: windows from 8 GiB on.",
    )
    workers: int = Field(default=1, ge=0, le=64, description="Threads that make batches ahead; never changes a bit.")
    augment: AugmentSection | None = Field(default=None, description="Random changes of images; a table of its own.")


class DataRules(Loading):
    """What every kind of data has: names, rights, and what is refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the data set, for people.")
    description: str = Field(default="", description="What the data are; kept in the snapshot.")
    licence: str = Field(default="", description="The data's licence, as SPDX or Debian names it.")
    biases: str = Field(default="", description="Known biases and gaps of the data, in words; kept in the snapshot.")
    groups: list[FieldName] = Field(
        default=[], description="Fields with classes that name groups, for metrics a group (fairness)."
    )
    duplicates: Literal["refuse", "allow"] = Field(
        default="refuse", description="Equal records inside a split: `refuse` them, or `allow` and count them."
    )
    leakage: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="Records of one split that equal one of another: `refuse` them, or `allow` and count them.",
    )
    bad_rows: Literal["refuse", "drop"] = Field(
        default="refuse", description="Rows with a missing or wrong value: `refuse` them, or `drop` and count them."
    )
    splits: dict[SplitName, int | float] = Field(
        default={}, description="Splits taken out of `train`, each with its number of records or its share."
    )
    split_key: str = Field(default="reprise", description="Keys which records those are.")

    @model_validator(mode="after")
    def _splits_fit(self) -> DataRules:
        for name, size in self.splits.items():
            if size < 1 if isinstance(size, int) else not 0 < size < 1:
                raise ValueError(f"splits.{name} is {size}: give a number of records, or a share between 0 and 1")
        return self


class FieldRule(Section):
    """`[data.fields.NAME]`: a field of the records, and what its values must be."""

    columns: list[str] = Field(
        default=[], description="Columns that make the field, in order; by default the one of its name."
    )
    dtype: Dtype | None = Field(
        default=None,
        description="Element type: `uint8`, `int32`, `int64` or `float32`; by default the last, for labels the "
        "smallest that fits.",
    )
    shape: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="Shape of the field in one record; by default one axis over its columns, or a scalar."
    )
    classes: list[str] | None = Field(
        default=None,
        min_length=1,
        description="The label set: a text must be one of these names, a number the place of one, from 0.",
    )
    range: list[float] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="Smallest and largest value that is allowed; with `classes`, of the label's number too.",
    )


class FashionMnistSection(DataRules, Place):
    kind: Literal["fashion-mnist"] = Field(default="fashion-mnist", description="Which reader makes the snapshot.")


class TextSection(DataRules, Place):
    kind: Literal["text"] = Field(description="Which reader makes the snapshot.")
    block: int = Field(ge=1, le=1 << 20, description="Tokens that a model sees; a record has one more.")
    stride: int | None = Field(
        default=None, ge=1, description="Tokens from the start of a record to that of the next; by default `block`."
    )
    encoding: str = Field(default="utf-8", description="Character encoding of the text.")


class TableSection(DataRules):
    """Tables: a file a split, rows of named columns."""

    kind: Literal["csv", "json-lines", "parquet", "hugging-face"] = Field(
        description="Which reader makes the snapshot."
    )
    files: dict[SplitName, Place] = Field(min_length=1, description="A table a split: where its file lies.")
    fields: dict[FieldName, FieldRule] = Field(min_length=1, description="A table a field: what a record holds.")


class ArraysSection(DataRules):
    """Arrays in files of their own (`.npy`, idx, both also gzipped): a file a field."""

    kind: Literal["arrays"] = Field(description="Which reader makes the snapshot.")
    files: dict[SplitName, dict[FieldName, Place]] = Field(
        min_length=1, description="A table a split and field: where its file lies."
    )
    fields: dict[FieldName, FieldRule] = Field(default={}, description="A table a field: what a record holds.")


class ImagesSection(DataRules):
    """Folders of image files, a folder a class."""

    kind: Literal["images"] = Field(description="Which reader makes the snapshot.")
    files: dict[SplitName, Place] = Field(min_length=1, description="A table a split: where its file lies.")
    size: list[Annotated[int, Field(ge=1, le=1 << 16)]] = Field(
        min_length=2, max_length=2, description="Height and width that every image must have."
    )
    colour: Literal["grey", "rgb"] = Field(
        default="rgb", description="What every image is read as: one channel (`grey`), or three (`rgb`)."
    )


class OwnDataSection(DataRules):
    """Files that a function of the user's own reads."""

    kind: Literal["own"] = Field(description="Which reader makes the snapshot.")
    reader: str = Field(
        pattern=PATTERN,
        description="Your function `package.module:function`, called with a path and the options; gives records.",
    )
    options: dict[str, Any] = Field(default={}, description="A table of your own, passed on to `reader` by name.")
    code: CodeSection = Field(description="The folder of the reader's modules: a table with the keys of `[code]`.")
    files: dict[SplitName, Place] = Field(min_length=1, description="A table a split: where its file lies.")
    folders: bool = Field(default=False, description="Whether each place is a folder, and no file.")
    fields: dict[FieldName, FieldRule] = Field(min_length=1, description="A table a field: what a record holds.")


class StoreSection(Loading):
    """A snapshot that the store holds already."""

    kind: Literal["store"] = Field(description="Which reader makes the snapshot.")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the data set, for people.")
    snapshot: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="The snapshot's digest.")


def _kind(value: Any) -> str:
    """The table's kind. One without is Fashion-MNIST's, the data set that is built in."""
    found = value.get("kind", "fashion-mnist") if isinstance(value, dict) else getattr(value, "kind", "")
    return str(found)


MadeData = FashionMnistSection | TextSection | TableSection | ArraysSection | ImagesSection | OwnDataSection
DataSection = Annotated[
    Annotated[FashionMnistSection, Tag("fashion-mnist")]
    | Annotated[TextSection, Tag("text")]
    | Annotated[TableSection, Tag("csv")]
    | Annotated[TableSection, Tag("json-lines")]
    | Annotated[TableSection, Tag("parquet")]
    | Annotated[TableSection, Tag("hugging-face")]
    | Annotated[ArraysSection, Tag("arrays")]
    | Annotated[ImagesSection, Tag("images")]
    | Annotated[OwnDataSection, Tag("own")]
    | Annotated[StoreSection, Tag("store")],
    Discriminator(_kind),
]


def places(data: MadeData | StoreSection) -> list[Place]:
    """Every place that a data section names, in the order in which it names them."""
    match data:
        case Place():
            return [data]
        case ArraysSection():
            return [place for split in data.files.values() for place in split.values()]
        case TableSection() | ImagesSection() | OwnDataSection():
            return list(data.files.values())
        case _:
            return []


def source_digests(data: MadeData | StoreSection) -> set[str]:
    """The sha256 (hex) of everything that a section's snapshot is made from: files, and the code of a reader of the
    user's own."""
    code = {data.code.sha256} if isinstance(data, OwnDataSection) else set()
    return {place.sha256 for place in places(data)} | code
