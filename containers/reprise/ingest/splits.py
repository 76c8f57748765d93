"""Which records make which split, and whether two of them are equal."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reprise.ingest.staging import StagedSplit
from reprise_trainer.data.snapshot import SplitRule
from reprise_trainer.errors import InputError

TRAIN = "train"
_EXAMPLES = 3
_GIVEN = SplitRule()


@dataclass(frozen=True, slots=True)
class Part:
    """A split to be written: the records `chosen` of what its source gave, in that order."""

    name: str
    staged: StagedSplit
    chosen: Sequence[int]
    rule: SplitRule = _GIVEN


def make_parts(staged: Mapping[str, StagedSplit], wanted: Mapping[str, int | float], key: str) -> list[Part]:
    """The splits that the source gave, and those that are taken out of its `train`.

    Records are taken by a keyed hash of their content, the lowest first: which ones doesn't depend on the source's
    order, and equal records stay together. Windows of a text overlap, so they are taken from its end.

    Args:
        staged: split name → its records.
        wanted: name of a new split → its number of records, or its share of `train`.
        key: keys the hash.

    Raises:
        InputError: there is no `train` to take from, it has too few records, or a name is taken.
    """
    parts = [Part(name, each, range(each.records)) for name, each in staged.items()]
    if not wanted:
        return parts
    if TRAIN not in staged:
        raise InputError(f"data.splits takes records out of split {TRAIN!r}, and the data have {', '.join(staged)}")
    if taken := sorted(wanted.keys() & staged.keys()):
        raise InputError(f"data.splits: the data have a split {taken[0]!r} of their own")
    source = staged[TRAIN]
    counts = {name: _count(value, source.records) for name, value in wanted.items()}
    if sum(counts.values()) >= source.records:
        raise InputError(
            f"data.splits takes {sum(counts.values())} records out of {TRAIN!r}, which has {source.records}"
        )
    windowed = any(field.stride is not None for field in source.fields)
    rest = [part for part in parts if part.name != TRAIN]
    return [*(_tails(source, counts) if windowed else _by_hash(source, counts, key)), *rest]


def _count(value: int | float, records: int) -> int:
    return value if isinstance(value, int) else max(1, int(value * records))


def _by_hash(source: StagedSplit, counts: Mapping[str, int], key: str) -> list[Part]:
    digests = list(source.digests(range(source.records)))
    # Stored bytes decide the place, or a -0.0 would move its record; of equal records, those with the lowest hash do.
    places: dict[bytes, bytes] = {}
    for digest, stored in zip(digests, source.stored_digests(), strict=True):
        keyed = _keyed(key, stored)
        places[digest] = min(keyed, places.get(digest, keyed))
    order = sorted(range(source.records), key=lambda record: (places[digests[record]], record))
    parts, start = [], 0
    for name, count in counts.items():
        end = start + count
        # Equal records have equal hashes and follow each other: none of their groups is cut in two.
        while start < end < len(order) and digests[order[end]] == digests[order[end - 1]]:
            end -= 1
        rule = SplitRule(kind="lowest-keyed-hash", source=TRAIN, key=key)
        parts.append(Part(name, source, sorted(order[start:end]), rule))
        start = end
    return [Part(TRAIN, source, sorted(order[start:])), *parts]


def _keyed(key: str, digest: bytes) -> bytes:
    return hashlib.blake2b(digest, key=hashlib.sha256(key.encode()).digest(), digest_size=16).digest()


def _tails(source: StagedSplit, counts: Mapping[str, int]) -> list[Part]:
    """Windows from the end of a text, the last split last; the windows that would overlap two splits are in neither."""
    gap = max(-(-(field.shape[0] - (field.stride or 1)) // (field.stride or 1)) for field in source.fields)
    parts, end = [], source.records
    for name, count in reversed(list(counts.items())):
        parts.append(Part(name, source, range(end - count, end), SplitRule(kind="tail", source=TRAIN)))
        end -= count + gap
    if end < 1:
        raise InputError(f"data.splits leaves no record for {TRAIN!r}: the text has {source.records}")
    return [Part(TRAIN, source, range(end)), *reversed(parts)]


@dataclass(frozen=True, slots=True)
class Equals:
    """Equal records: how many inside each split, how many of one split in another, and the first of them in words."""

    duplicates: Mapping[str, int]
    leaks: int
    duplicate_examples: tuple[str, ...]
    leak_examples: tuple[str, ...]


def find_equals(parts: Sequence[Part]) -> Equals:
    """Compare every record with every other one, by the digests of their inputs.

    A record may be both: equal to an earlier one of its split, and to one of a split before it.
    """
    counted = Counter(digest for part in parts for digest in part.staged.digests(part.chosen))
    repeated = {digest for digest, count in counted.items() if count > 1}  # few, or none: only they are looked at
    seen: dict[bytes, tuple[Part, int]] = {}
    duplicates = {part.name: 0 for part in parts}
    leaks = 0
    duplicate_examples: list[str] = []
    leak_examples: list[str] = []
    for part in parts:
        own: dict[bytes, int] = {}
        for record, digest in zip(part.chosen, part.staged.digests(part.chosen), strict=True):
            if digest not in repeated:
                continue
            earlier = own.setdefault(digest, record)
            if earlier != record:
                duplicates[part.name] += 1
                _tell(duplicate_examples, part, record, part, earlier)
            first, other = seen.setdefault(digest, (part, record))
            if first is not part:
                leaks += 1
                _tell(leak_examples, part, record, first, other)
    return Equals(duplicates, leaks, tuple(duplicate_examples), tuple(leak_examples))


def _tell(examples: list[str], part: Part, record: int, other_part: Part, other: int) -> None:
    if len(examples) < _EXAMPLES:
        here, there = part.staged.origin(record), other_part.staged.origin(other)
        examples.append(f"{part.name}: {here} equals {there} ({other_part.name})")
