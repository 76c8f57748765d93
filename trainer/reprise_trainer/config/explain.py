"""Every effective value of a configuration, and where it came from: the file, `--set`, or a default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from pydantic import BaseModel

from reprise_trainer.config.overrides import Override
from reprise_trainer.config.read import RunConfig


@dataclass(frozen=True, slots=True)
class Explained:
    """One effective value: dotted key, value as JSON has values, source, and what the key means."""

    key: str
    value: Any
    source: str
    meaning: str

    def as_json(self) -> dict[str, Any]:
        """The row for `--json`."""
        return {"key": self.key, "value": self.value, "source": self.source, "meaning": self.meaning}


def explain(config: RunConfig, *, where: str, overrides: Iterable[Override] = ()) -> tuple[Explained, ...]:
    """One row a key, in the order of the tables.

    Args:
        config: as read.
        where: the file's name; the source of what stands in it.
        overrides: those that `config` was read with.
    """
    return tuple(_rows(config, "", where, frozenset(each.key for each in overrides)))


def _rows(table: BaseModel, prefix: str, where: str, set_keys: frozenset[str]) -> Iterator[Explained]:
    for name, field in type(table).model_fields.items():
        key, value = f"{prefix}{name}", getattr(table, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{key}.", where, set_keys)
            continue
        written = where if name in table.model_fields_set else "default"
        source = "--set" if _was_set(key, set_keys) else written
        yield Explained(key, _plain(value), source, field.description or "")


def _was_set(key: str, set_keys: frozenset[str]) -> bool:
    """Whether `key`, or a whole table around it, was given by `--set`."""
    parts = key.split(".")
    return any(".".join(parts[:count]) in set_keys for count in range(1, len(parts) + 1))


def _plain(value: Any) -> Any:
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case list() | tuple():
            return [_plain(each) for each in value]
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case date() | time():
            return value.isoformat()
        case _:
            return value
