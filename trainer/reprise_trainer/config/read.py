"""Configuration bytes → `RunConfig`, or every problem in one message."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from reprise_trainer.config.checkpoint import CheckpointSection
from reprise_trainer.config.code import CodeSection
from reprise_trainer.config.data import DataSection
from reprise_trainer.config.evaluate import EvaluateSection
from reprise_trainer.config.model import CnnSection, GptSection, MlpSection, OwnSection
from reprise_trainer.config.overrides import Override, apply_overrides
from reprise_trainer.config.run import RunSection
from reprise_trainer.config.section import Section
from reprise_trainer.config.stages import StagesSection
from reprise_trainer.config.start import StartSection
from reprise_trainer.config.train import TrainSection
from reprise_trainer.config.validation import ValidationSection
from reprise_trainer.errors import InputError
from reprise_trainer.redaction import Secret, find_secret

SIZE_LIMIT = 1 << 20
"""Bytes. A configuration is written by a person; one of more than a mebibyte is a mistake."""


class RunConfig(Section):
    """A whole configuration; each field's meaning is its `description`."""

    run: RunSection
    data: DataSection
    model: Annotated[CnnSection | MlpSection | GptSection | OwnSection, Field(discriminator="kind")]
    train: TrainSection
    code: CodeSection | None = Field(
        default=None, description="Your own code, that the run imports; a table of its own."
    )
    checkpoint: CheckpointSection = CheckpointSection()
    stages: StagesSection | None = Field(
        default=None, description="Your own functions in the stages; a table of its own."
    )
    start: StartSection | None = Field(
        default=None, description="Another run's checkpoint to start from; a table of its own."
    )
    validation: ValidationSection | None = Field(
        default=None, description="How the run is measured while it trains; a table of its own."
    )
    random_streams: dict[str, str] = Field(
        default={}, description="Stream of random numbers → why the run has it; for the run record."
    )
    evaluate: EvaluateSection = EvaluateSection()

    @model_validator(mode="after")
    def _checkpoints_are_validated(self) -> RunConfig:
        """Checkpoints that are ranked by validation are validated themselves: an earlier state's loss is not theirs."""
        if self.checkpoint.metric != "validation":
            return self
        if self.validation is None:
            raise ValueError('checkpoint.metric is "validation": say in [validation] how the run is validated')
        if self.checkpoint.every and self.checkpoint.every % self.validation.every:
            raise ValueError(
                f'checkpoint.metric is "validation": checkpoint.every ({self.checkpoint.every}) must be a multiple of '
                f"validation.every ({self.validation.every}), so that each checkpoint is validated"
            )
        return self


def read_config(
    data: bytes,
    *,
    where: str,
    overrides: Iterable[Override] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> RunConfig:
    """The configuration in TOML bytes.

    Args:
        data: UTF-8 TOML.
        where: the file's name, for messages.
        overrides: values that stand before the file's.
        environment: of whoever wrote the configuration; the values of its variables named like secrets are looked for.

    Raises:
        InputError: too large, a secret in it, not TOML, or content that doesn't fit: each problem with its key; unknown
            keys with the nearest valid one.
    """
    if len(data) > SIZE_LIMIT:
        raise InputError(f"{where}: {len(data)} bytes are more than a configuration may have ({SIZE_LIMIT})")
    if secret := find_secret(data.decode(errors="replace"), environment):
        raise _published(f"{where}: line {secret.line}", secret)
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{where}: not a TOML file: {error}") from error
    apply_overrides(document, overrides)
    for key, text in _texts(document):  # again: an escape or an override is not in the text
        if secret := find_secret(text, environment):
            raise _published(f"{where}: {key}", secret)
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors(include_url=False, include_context=True)]
        raise InputError(f"{where}: " + "; ".join(problems)) from error


def _published(place: str, secret: Secret) -> InputError:
    return InputError(
        f"{place} holds {secret.what}; a run record would publish it",
        hint="Keep secrets in files of their own; a configuration names none.",
    )


def _texts(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """The dotted key of each text in a document, and the text."""
    match value:
        case str():
            yield place, value
        case dict():
            for key, each in value.items():
                yield from _texts(each, f"{place}.{key}" if place else key)
        case list():
            for each in value:
                yield from _texts(each, place)


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
            said = error["msg"].removeprefix("Value error, ")
            return f"{place}: {said}" if place else said
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
        tagged = [table for table in tables if len(tables) > 1 and part in _kinds(table)]
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


def _kinds(table: type[BaseModel]) -> tuple[str, ...]:
    field = table.model_fields.get("kind")
    return get_args(field.annotation) if field else ()
