"""Two images, ledgers or digests → equal, or the first thing that differs. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from reprise.audit.report import Part
from reprise.stored_image import FileLists
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.identity.file_list import ListedFile
from reprise_trainer.identity.inventory import Inventory, LayerRecord, image_bytes
from reprise_trainer.training.ledger import first_difference
from reprise_trainer.training.records.record import RunRecord


def compare_digests(expected: str, found: str, what: str) -> Part:
    """Equal when the two digests are; `what` names the thing in the message."""
    equal = expected == found
    return Part(expected, found, equal, "" if equal else f"{what} is {found}, the record says {expected}")


def compare_ledgers(expected: bytes, found: bytes, expected_head: str, found_head: str) -> Part:
    """Compare the run's ledger with the replay's, line by line.

    Args:
        expected, found: the ledgers' bytes, their chains verified already.
        expected_head, found_head: the heads, `sha256:<hex>`.
    """
    difference = first_difference(expected, found)
    if difference is None and expected_head == found_head:
        return Part(expected_head, found_head, True)
    why = str(difference) if difference else f"the head is {found_head}, the record says {expected_head}"
    return Part(expected_head, found_head, False, why)


def record_metrics(record: RunRecord) -> dict[str, Any]:
    """Everything that a run was evaluated to, by name."""
    fairness = {} if record.fairness is None else record.fairness.model_dump(mode="json")
    named = {"fairness": fairness, "membership": record.membership or {}}
    more = {f"{part}.{name}": value for part, values in named.items() for name, value in values.items()}
    return {**record.metrics, **more}


def compare_metrics(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Part:
    """Compare what a run was evaluated to with what the replay was; names the first value that differs."""
    ours, theirs = (sha256_digest(canonical_json(dict(each))) for each in (expected, found))
    if ours == theirs:
        return Part(ours, theirs, True)
    name = next(each for each in sorted({*expected, *found}) if expected.get(each) != found.get(each))
    return Part(ours, theirs, False, f"{name} is {found.get(name)}, the record says {expected.get(name)}")


def compare_images(expected: Inventory, found: Inventory, expected_files: FileLists, found_files: FileLists) -> Part:
    """Compare a run's image with the one that was rebuilt; names the first layer, and path in it, that differs."""
    ours, theirs = image_bytes(expected).digest, image_bytes(found).digest
    if ours == theirs:
        return Part(ours, theirs, True)
    return Part(ours, theirs, False, _first_image_difference(expected, found, expected_files, found_files))


def _first_image_difference(
    expected: Inventory, found: Inventory, expected_files: FileLists, found_files: FileLists
) -> str:
    for number, (left, right) in enumerate(zip_longest(expected.layers, found.layers), 1):
        if left == right:
            continue
        if left is None or right is None:
            layer = left or right
            return f"layer {number} ({layer.name}): only the {'run' if right is None else 'rebuilt'} image has it"
        why = _layer_difference(left, right)
        if left.name in expected_files and right.name in found_files:
            why += _first_path(expected_files[left.name], found_files[right.name])
        return f"layer {number} ({left.name}): {why}"
    return "config: " + _first_value(expected.config, found.config)


def _layer_difference(left: LayerRecord, right: LayerRecord) -> str:
    if left.name != right.name:
        return f"the rebuilt image has layer {right.name!r} in its place"
    if left.diff_id == right.diff_id:
        return f"same content, compressed otherwise: {right.digest} in place of {left.digest}"
    return f"other content: {right.diff_id} in place of {left.diff_id}"


def _first_path(expected: list[ListedFile], found: list[ListedFile]) -> str:
    ours, theirs = ({file.path: file for file in files} for files in (expected, found))
    for path in sorted({*ours, *theirs}, key=str.encode):
        left, right = ours.get(path), theirs.get(path)
        if left == right:
            continue
        if left is None or right is None:
            return f"; first path: /{path}, which only the {'run' if right is None else 'rebuilt'} image has"
        fields = [
            f"{name} {getattr(right, name)!r} in place of {getattr(left, name)!r}"
            for name in ("type", "mode", "size", "target", "sha256")
            if getattr(left, name) != getattr(right, name)
        ]
        return f"; first path: /{path}: {', '.join(fields)}"
    return ""


def _first_value(left: Any, right: Any, place: str = "") -> str:
    """The first key, in order, at which two JSON values differ, with both values."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key):
                return _first_value(left.get(key), right.get(key), f"{place}.{key}" if place else key)
    return f"{place or 'value'} is {right!r} in place of {left!r}"
