"""The ledger: the run's hash chain, one canonical JSON line a step and one a checkpoint.

    {"batch":"<hex>","chain":"<hex>","gradient":"<hex>","loss":"0x1.…p+0","step":0}
    {"chain":"<hex>","checkpoint":234,"state":"sha256:…"}

The first line is the header, which has no chain; the chain starts at its sha256. Each line's chain is the sha256 of the
chain before it (hex) followed by the line without its own chain. The ledger's head is the last chain: one digest that
names every line. Standard library alone; the host reads ledgers by this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import DoesNotHoldError, InputError

FORMAT = 1
FILE_NAME = "ledger.jsonl"

_STEP_KEYS = {"step", "loss", "batch", "gradient", "chain"}
_CHECKPOINT_KEYS = {"checkpoint", "state", "chain"}
_HEADER_KEYS = {"ledger", "config", "snapshot", "image", "seed"}


@dataclass(frozen=True, slots=True)
class Header:
    """What the run is a run of: digests of the configuration's bytes, the snapshot and the image, the seed, and the
    state digest of the checkpoint of another run that it starts from (empty, and not in the line, without one)."""

    config: str
    snapshot: str
    image: str
    seed: int
    parent: str = ""

    def line(self) -> dict[str, Any]:
        return {
            "ledger": FORMAT,
            "config": self.config,
            "snapshot": self.snapshot,
            "image": self.image,
            "seed": self.seed,
            **({"parent": self.parent} if self.parent else {}),
        }


@dataclass(frozen=True, slots=True)
class Ledger:
    """A verified ledger: header, lines after it (each with its chain), and head (`sha256:<hex>`)."""

    header: Header
    lines: tuple[Mapping[str, Any], ...]
    head: str

    @property
    def checkpoints(self) -> dict[int, str]:
        """Step → state digest."""
        return {line["checkpoint"]: line["state"] for line in self.lines if "checkpoint" in line}


@dataclass(frozen=True, slots=True)
class Difference:
    """The first line in which two ledgers differ. `line` counts from 1 (the header); None stands for a ledger's end."""

    line: int
    fields: tuple[str, ...]
    left: Mapping[str, Any] | None
    right: Mapping[str, Any] | None

    def __str__(self) -> str:
        if self.left is None or self.right is None:
            return f"line {self.line}: the {'first' if self.left is None else 'second'} ledger ends before it"
        which = next((f"{key} {self.left[key]}" for key in ("step", "checkpoint") if key in self.left), "header")
        values = (f"{name} {self.left.get(name)} against {self.right.get(name)}" for name in self.fields)
        return f"line {self.line} ({which}): {'; '.join(values)}"


def step_line(step: int, *, loss: float, batch: str, gradient: str, validation: float | None = None) -> dict[str, Any]:
    """A step's line without its chain: its mean loss, batch digest and gradient digest (bare hex), and the mean loss of
    the validation after it, if there is one."""
    validated = {} if validation is None else {"validation": validation.hex()}
    return {"step": step, "loss": loss.hex(), "batch": batch, "gradient": gradient, **validated}


def checkpoint_line(step: int, state: str) -> dict[str, Any]:
    """A checkpoint's line without its chain: the number of finished steps and the state digest."""
    return {"checkpoint": step, "state": state}


def gradient_digest(sums: Mapping[str, int]) -> str:
    """Bare hex digest of a gradient's integer sums. It localises a difference; it is not meant as security."""
    return hashlib.sha256(canonical_json(dict(sums))).hexdigest()


def next_chain(chain: str, line: Mapping[str, Any]) -> str:
    """The chain after `line` (without its own chain), bare hex."""
    return hashlib.sha256(chain.encode() + canonical_json(dict(line))).hexdigest()


def read_ledger(data: bytes, *, where: str = FILE_NAME) -> Ledger:
    """The ledger in a file's bytes, its chain checked from the first line to the last.

    Raises:
        InputError: not a ledger; names the first line that is malformed.
        DoesNotHoldError: names the first line that breaks the chain.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"":
        raise InputError(f"{where}: line {len(lines) + 1} is cut short")
    if not lines:
        raise InputError(f"{where}: empty; a ledger starts with its header")
    header = _read_header(lines[0], where)
    chain = hashlib.sha256(lines[0]).hexdigest()
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines[1:], 2):
        entry = _read_line(line, number, where)
        chain = next_chain(chain, {key: value for key, value in entry.items() if key != "chain"})
        if entry["chain"] != chain:
            raise DoesNotHoldError(f"{where}: line {number} breaks the chain: it was changed, or one before it was")
        entries.append(entry)
    return Ledger(header, tuple(entries), f"sha256:{chain}")


def verify_ledger(data: bytes, head: str, *, where: str = FILE_NAME) -> Ledger:
    """The ledger in a file's bytes, once its chain holds and ends in `head`.

    Raises:
        InputError: not a ledger.
        DoesNotHoldError: the chain breaks, or its head is another.
    """
    ledger = read_ledger(data, where=where)
    if ledger.head != head:
        raise DoesNotHoldError(f"{where}: the ledger's head is {ledger.head}, expected {head}")
    return ledger


def first_difference(left: bytes, right: bytes) -> Difference | None:
    """The first line in which two ledger files differ, chains aside; None where they don't.

    Chains are not compared, since every chain after a difference differs: the first line with other content is named.
    """
    ours, theirs = list(_entries(left)), list(_entries(right))
    for index in range(max(len(ours), len(theirs))):
        a = ours[index] if index < len(ours) else None
        b = theirs[index] if index < len(theirs) else None
        if a is None or b is None:
            return Difference(index + 1, (), a, b)
        fields = tuple(sorted(name for name in {*a, *b} - {"chain"} if a.get(name) != b.get(name)))
        if fields:
            return Difference(index + 1, fields, a, b)
    return None


def _entries(data: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(data.splitlines(), 1):
        yield _object(line, number, FILE_NAME)


def _read_header(line: bytes, where: str) -> Header:
    entry = _object(line, 1, where)
    if set(entry) - {"parent"} != _HEADER_KEYS or entry["ledger"] != FORMAT:
        raise InputError(f"{where}: line 1 is not the header of a ledger of format {FORMAT}")
    return Header(entry["config"], entry["snapshot"], entry["image"], entry["seed"], entry.get("parent", ""))


def _read_line(line: bytes, number: int, where: str) -> dict[str, Any]:
    entry = _object(line, number, where)
    if set(entry) - {"validation"} != _STEP_KEYS and set(entry) != _CHECKPOINT_KEYS:
        raise InputError(f"{where}: line {number} is neither a step's nor a checkpoint's")
    return entry


def _object(line: bytes, number: int, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict) or canonical_json(entry) != line:
            raise ValueError("not a canonical JSON object")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: line {number} is not a ledger line: {error}") from error
    return entry
