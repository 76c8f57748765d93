"""The run configuration: one readable TOML file, checked before anything is loaded.

Host and trainer read it by this module, which imports nothing numeric. The run record holds the file's text as it is.
"""

from __future__ import annotations

import difflib
import tomllib
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from reprise_trainer.errors import InputError

SIZE_LIMIT = 1 << 20
"""Bytes. A configuration is written by a person; one of more than a mebibyte is a mistake."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunSection(_Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the run, for people.")
    environment: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Environment whose image the run uses.")
    profile: Literal["x86-64-v3", "portable"] = Field(
        default="x86-64-v3", description="Numeric settings that decide the bits."
    )
    seed: int = Field(ge=0, lt=2**63, description="Keys record order, initial values and dropout.")
    threads: int = Field(ge=1, le=256, description="Threads inside one operation; part of what decides the bits.")


class DataSection(_Section):
    name: Literal["fashion-mnist"] = Field(description="Which ingest makes the snapshot.")
    artifact: str = Field(pattern=r"^pkg:", description="Package URL of the file that holds the data.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="The artifact's sha256, hex.")
    path: str = Field(default="", description="Where the artifact lies in its distribution; a hint, never a host.")


class CnnSection(_Section):
    kind: Literal["cnn"]
    channels: list[Annotated[int, Field(ge=1, le=1024)]] = Field(
        min_length=1, max_length=4, description="Output channels of each 3 x 3 convolution; 2 x 2 pooling follows each."
    )
    hidden: int = Field(ge=1, le=65536, description="Width of the hidden dense layer.")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Share of hidden values dropped in training.")


class MlpSection(_Section):
    kind: Literal["mlp"]
    hidden: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        max_length=16, description="Widths of the hidden dense layers."
    )
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Share of hidden values dropped in training.")


class _Rule(_Section):
    lr: float = Field(gt=0, allow_inf_nan=False, description="Learning rate.")
    schedule: Literal["constant", "linear"] = Field(
        default="constant",
        description="How the learning rate moves over the run: not at all, or down to zero in a line.",
    )
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Weight decay.")


class SgdSection(_Rule):
    kind: Literal["sgd"]
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Share of the last step's velocity that is kept.")


class AdamWSection(_Rule):
    kind: Literal["adamw"]
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Share of the gradients' mean that is kept.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Share of the squared gradients' mean that is kept.")
    epsilon: float = Field(default=1e-8, gt=0, allow_inf_nan=False, description="Added to the denominator.")


class TrainSection(_Section):
    backend: Literal["torch", "jax"] = Field(default="torch", description="Numeric framework: `torch` or `jax`.")
    epochs: int | None = Field(default=None, ge=1, description="Length of the run in epochs; or give steps.")
    steps: int | None = Field(default=None, ge=1, description="Length of the run in steps; or give epochs.")
    batch_size: int = Field(ge=1, le=2**20, description="Records a step, over all logical shards.")
    logical_shards: int = Field(
        default=1, ge=1, le=1024, description="Parts of a batch: a power of two that divides it."
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="Steps between checkpoints; one is made at the end."
    )
    optimizer: Annotated[SgdSection | AdamWSection, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _fits(self) -> TrainSection:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps, and not both")
        if self.logical_shards & (self.logical_shards - 1) or self.batch_size % self.logical_shards:
            fitting = [str(1 << bit) for bit in range(11) if self.batch_size % (1 << bit) == 0]
            raise ValueError(
                f"logical_shards must be a power of two that divides batch_size {self.batch_size} "
                f"(one of {', '.join(fitting)}), not {self.logical_shards}"
            )
        return self

    def total_steps(self, records: int) -> int:
        """Steps of the whole run on a split of `records` records; the last epoch's end is rounded up to a step."""
        return self.steps or -(-(self.epochs or 0) * records // self.batch_size)


class EvaluateSection(_Section):
    split: str = Field(default="test", description="Split that the trained model is measured on.")
    batch_size: int = Field(
        default=500, ge=1, le=2**20, description="Records at a time; the last batch is padded to it."
    )


class RunConfig(_Section):
    """A whole configuration; each field's meaning is its `description`."""

    run: RunSection
    data: DataSection
    model: Annotated[CnnSection | MlpSection, Field(discriminator="kind")]
    train: TrainSection
    evaluate: EvaluateSection = EvaluateSection()


def read_config(data: bytes, *, where: str) -> RunConfig:
    """The configuration in TOML bytes.

    Args:
        data: UTF-8 TOML.
        where: the file's name, for messages.

    Raises:
        InputError: too large, not TOML, or content that doesn't fit: each problem with its key; unknown keys with the
            nearest valid one.
    """
    if len(data) > SIZE_LIMIT:
        raise InputError(f"{where}: {len(data)} bytes are more than a configuration may have ({SIZE_LIMIT})")
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{where}: not a TOML file: {error}") from error
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors(include_url=False, include_context=True)]
        raise InputError(f"{where}: " + "; ".join(problems)) from error


def _problem(error: ErrorDetails) -> str:
    """One problem in one phrase: key path, what is wrong, what would do."""
    place, keys = _place(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            name = str(error["loc"][-1])
            nearest = difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
            better = f"did you mean {nearest[0]!r}?" if nearest else f"valid are {', '.join(keys)}"
            return f"{place}: unknown key; {better}"
        case "missing":
            return f"{place}: missing"
        case "union_tag_invalid" | "union_tag_not_found":
            return f"{place}.kind: expected one of {error.get('ctx', {}).get('expected_tags', 'the known kinds')}"
        case "value_error":
            return f"{place}: {error['msg'].removeprefix('Value error, ')}"
        case _:
            message = error["msg"]
            return f"{place}: {message[0].lower()}{message[1:]}, not {_shown(error['input'])}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _place(location: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """The dotted key path of an error (without the tags of unions), and the keys valid in the table around its end."""
    path: list[str] = []
    tables: list[type[BaseModel]] = [RunConfig]
    keys = sorted(RunConfig.model_fields)
    for number, part in enumerate(location):
        tagged = [table for table in tables if len(tables) > 1 and _kind(table) == part]
        if tagged:
            tables = tagged
            continue
        path.append(str(part))
        keys = sorted({name for table in tables for name in table.model_fields})
        fields = [table.model_fields[str(part)].annotation for table in tables if str(part) in table.model_fields]
        if number < len(location) - 1:
            tables = [each for field in fields for each in _tables(field)] or tables
    return ".".join(path), keys


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation: itself, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for argument in get_args(annotation) for each in _tables(argument)]


def _kind(table: type[BaseModel]) -> str | None:
    field = table.model_fields.get("kind")
    return get_args(field.annotation)[0] if field else None
