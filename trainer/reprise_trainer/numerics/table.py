"""The committed table: which bits every operation has under a profile, on a class of machines.

`operations.json` beside this module. A row is measured, never written by hand; `reprise_trainer operations --update`
puts this machine's in. Nothing numeric is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from reprise_trainer.durable import write_durably
from reprise_trainer.numerics.claims import EXACT, OPEN

FILE = Path(__file__).with_name("operations.json")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RowKey(_Document):
    """What a row is measured for: profile, backend, the backend's version, threads, and the name of a machine class."""

    profile: str
    backend: str
    version: str
    threads: int
    machine: str


class Row(_Document):
    """Hashes (hex, 16 digits) by operation."""

    key: RowKey
    hashes: dict[str, str]


class Table(_Document):
    """All rows. `covers` names, for each backend, the framework's own operations that the promised entries are made
    of."""

    format: Literal[1] = 1
    covers: dict[str, list[str]] = Field(default_factory=dict)
    rows: list[Row] = Field(default_factory=list)

    def hashes(self, key: RowKey) -> Mapping[str, str] | None:
        """The hashes of a row; None where nobody has measured one."""
        return next((row.hashes for row in self.rows if row.key == key), None)

    def outside(self, backend: str, used: frozenset[str]) -> tuple[str, ...]:
        """Which of the framework's operations in `used` no row says anything about, sorted."""
        unknown = used - set(self.covers.get(backend, ()))
        return tuple(sorted(name for name in unknown if name.split(" ")[0] not in EXACT[backend]))

    def with_row(self, key: RowKey, hashes: Mapping[str, str], covers: frozenset[str]) -> Table:
        """The table with this row and these covered operations in place of the old ones; what is open has no hash."""
        promised = {name: digest for name, digest in sorted(hashes.items()) if name not in OPEN[key.backend]}
        rows = [row for row in self.rows if row.key != key] + [Row(key=key, hashes=promised)]
        rows.sort(key=lambda row: tuple(map(str, row.key.model_dump().values())))
        return self.model_copy(update={"rows": rows, "covers": {**self.covers, key.backend: sorted(covers)}})


def read_table(path: Path = FILE) -> Table:
    """The table in the package."""
    return Table.model_validate_json(path.read_bytes())


def write_table(table: Table, path: Path = FILE) -> None:
    """Write the table, a line a hash, so that a change of one shows as one.

    Raises:
        StorageError: it can't be written.
    """
    write_durably(path, table.model_dump_json(indent=1).encode() + b"\n")
