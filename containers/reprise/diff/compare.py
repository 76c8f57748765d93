"""Two sides → findings: paths first, then what is left to explain a layer that differs all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reprise.diff.causes import content_cause
from reprise.diff.content import Node, read_root
from reprise.diff.owners import only_owner, owner_of, with_folders
from reprise.diff.report import Cause, DiffReport, Finding
from reprise.diff.sides import (
    NamedLayer,
    Side,
    image_side,
    in_one_only,
    layers_side,
    named_layers,
    root_side,
)
from reprise.engine.interface import ImageRef
from reprise_trainer.identity.file_list import REPRISE_FOLDER
from reprise_trainer.printable import printable

_GROUP = 10
"""More paths of a layer than this with one kind of difference in their attributes become one finding."""

_TOTAL_BYTES = 256 << 20
"""Bytes of changed files that are looked into, both sides together; they are held in memory."""

_ATTRIBUTES: tuple[Cause, ...] = ("mode", "owner", "time", "attributes")


def diff_images(left: ImageRef, right: ImageRef) -> DiffReport:
    """Compare two images; layers that both have are not read.

    Raises:
        NotFoundError: a store lacks a manifest, or a layer that has to be read.
        InputError: an image is damaged.
    """
    if left.digest == right.digest:
        return DiffReport(left.digest, right.digest, ())
    ours, theirs = named_layers(left), named_layers(right)
    sides = layers_side(left, in_one_only(ours, theirs)), layers_side(right, in_one_only(theirs, ours))
    findings = [*_packing(ours, theirs), *_layers(*sides), *_paths(*sides)]
    findings += _unexplained(*sides, findings)
    findings += _documents(left, right)
    return _report(left.digest, right.digest, findings)


def diff_image_and_root(image: ImageRef, root: Path) -> DiffReport:
    """Compare what an image should show with what a folder holds: an unpacked image, or /proc/PID/root of a container.

    Owners and times are not compared, and neither is what is mounted beneath the root: engines make these.

    Raises:
        NotFoundError: the store lacks a layer, or the folder can't be read.
        InputError: the image is damaged.
    """
    tree, mounted = read_root(root)
    left, right = image_side(image), root_side(root, tree)
    seen = {path: entry for path, entry in left.paths.items() if not _is_beneath(path, mounted)}
    here = {path: entry for path, entry in right.paths.items() if not _is_beneath(path, mounted)}
    findings = list(_paths(replace(left, paths=seen), replace(right, paths=here), attributes=("mode",)))
    return _report(image.digest, str(root), findings)


def _is_beneath(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _report(left: str, right: str, findings: list[Finding]) -> DiffReport:
    """Lists and inventory repeat each difference of the files: they count only where they are all there is."""
    causes = [finding for finding in findings if not _repeats(finding)]
    kept = causes or findings
    places: dict[tuple[str, str], int] = {}
    for finding in kept:
        places.setdefault((finding.layer, finding.artifact), len(places))
    together = sorted(_grouped(kept), key=lambda finding: places.get((finding.layer, finding.artifact), len(places)))
    shown = (replace(finding, path=printable(finding.path), detail=printable(finding.detail)) for finding in together)
    return DiffReport(left, right, tuple(shown), len(findings) - len(kept))


def _repeats(finding: Finding) -> bool:
    return finding.path.startswith(f"{REPRISE_FOLDER}/") or (finding.layer == "inventory" and not finding.path)


def _packing(ours: list[NamedLayer], theirs: list[NamedLayer]) -> Iterator[Finding]:
    """Layers with one tar and two digests, and layers that both have in another order."""
    by_diff_id = {each.layer.diff_id: each for each in theirs}
    for each in ours:
        other = by_diff_id.get(each.layer.diff_id)
        if other and other.layer.digest != each.layer.digest:
            packed = [f"{one.media_type.rpartition('.')[2]}, {one.size:,} bytes" for one in (each.layer, other.layer)]
            yield Finding("compressor", f"the same tar, packed otherwise: {packed[0]} and {packed[1]}", each.name)
    common = [[each.layer.diff_id for each in side] for side in (ours, theirs)]
    shared = set(common[0]) & set(common[1])
    orders = [[diff_id for diff_id in side if diff_id in shared] for side in common]
    if orders[0] != orders[1]:
        yield Finding("order", "the two images stack the same layers in another order")


def _layers(left: Side, right: Side) -> Iterator[Finding]:
    """Layers that only one image has; their paths, unless the other image has them elsewhere, need no finding each."""
    for side, other, cause in ((left, right, "missing"), (right, left, "added")):
        owners = with_folders(side.owners)
        for name in side.layers.keys() - other.layers.keys():
            alone = [path for path in side.layers[name] if path not in other.paths]
            owner = only_owner(alone, owners)
            whose = "left" if cause == "missing" else "right"
            yield Finding("layer", f"only the {whose} image has this layer; {len(alone):,} of its paths", name, owner)


def _paths(left: Side, right: Side, attributes: tuple[Cause, ...] = _ATTRIBUTES) -> Iterator[Finding]:
    owners = with_folders({**right.owners, **left.owners})
    alone = {layer: only_owner(tree, owners) for layer, tree in {**right.layers, **left.layers}.items()}
    changed = []
    for path in sorted({*left.paths, *right.paths}, key=os.fsencode):
        if path not in right.paths or path not in left.paths:
            if finding := _one_sided(path, left, right):
                yield replace(finding, artifact=owner_of(path, owners) or alone.get(finding.layer, ""))
            continue
        (layer, ours), (other_layer, theirs) = left.paths[path], right.paths[path]
        artifact = owner_of(path, owners) or alone.get(layer, "")  # in a layer with one package, that package
        if other_layer and layer != other_layer:
            yield Finding("layer", f"it moved from layer {layer} to {other_layer}", layer, artifact, path)
        for cause, detail in _node_differences(ours, theirs, attributes):
            yield Finding(cause, detail, layer, artifact, path)
        if ours.type == theirs.type == "file" and ours.sha256 != theirs.sha256:
            changed.append((path, layer, artifact))
    yield from _contents(changed, left, right)


def _one_sided(path: str, left: Side, right: Side) -> Finding | None:
    """None for a path of a layer that the other image lacks as a whole."""
    there, side, other = ("left", left, right) if path in left.paths else ("right", right, left)
    layer, node = side.paths[path]
    if layer and other.layers and layer not in other.layers:
        return None
    cause: Cause = "missing" if there == "left" else "added"
    return Finding(cause, f"only the {there} side has this {node.type}", layer, path=path)


def _node_differences(left: Node, right: Node, attributes: tuple[Cause, ...]) -> Iterator[tuple[Cause, str]]:
    if left.type != right.type:
        yield "type", f"a {right.type} in place of a {left.type}"
        return
    if left.target != right.target:
        yield "link target", f"{right.target} in place of {left.target}"
    shown: dict[Cause, tuple[Any, Any]] = {
        "mode": (f"{left.mode:04o}", f"{right.mode:04o}"),
        "owner": (_user(left), _user(right)),
        "time": (_time(left.mtime), _time(right.mtime)),
        "attributes": (left.other or "none", right.other or "none"),
    }
    for cause in attributes:
        ours, theirs = shown[cause]
        if ours != theirs:
            yield cause, f"{theirs} in place of {ours}"


def _user(node: Node) -> str:
    uid, gid, user, group = node.owner
    names = f" ({user}:{group})" if user or group else ""
    return f"{uid}:{gid}{names}"


def _time(seconds: float) -> str:
    try:
        whole = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds"  # a year that no calendar has
    return f"{whole}{f'{seconds % 1:.9f}'[1:] if seconds % 1 else ''}Z"


def _contents(changed: list[tuple[str, str, str]], left: Side, right: Side) -> Iterator[Finding]:
    names = _few_enough([path for path, _, _ in changed], left, right)
    ours, theirs = left.read(names), right.read(names)
    for path, layer, artifact in changed:
        if path in ours and path in theirs:
            equal = _source_equal(path, left.paths, right.paths)
            cause, detail, lines = content_cause(path, ours[path], theirs[path], source_equal=equal)
            yield Finding(cause, detail, layer, artifact, path, lines)
        else:
            sizes = [side.paths[path][1].size for side in (left, right)]
            yield Finding(
                "content", f"{sizes[0]:,} and {sizes[1]:,} bytes, too much to look into", layer, artifact, path
            )


def _few_enough(names: list[str], left: Side, right: Side) -> list[str]:
    """The first of `names` that fit into memory together."""
    kept, total = [], 0
    for path in names:
        total += left.paths[path][1].size + right.paths[path][1].size
        if total > _TOTAL_BYTES:
            break
        kept.append(path)
    return kept


def _source_equal(
    path: str, left: Mapping[str, tuple[str, Node]], right: Mapping[str, tuple[str, Node]]
) -> bool | None:
    folder, cache, name = path.rpartition("__pycache__/")
    source = f"{folder}{name.partition('.')[0]}.py"
    if not cache or source not in left or source not in right:
        return None
    return left[source][1].sha256 == right[source][1].sha256


def _unexplained(left: Side, right: Side, findings: list[Finding]) -> Iterator[Finding]:
    """Layers of one name whose tars differ though each path is the same: order, or how the tar is written."""
    explained = {finding.layer for finding in findings}
    for name in left.layers.keys() & right.layers.keys() - explained:
        ours, theirs = list(left.layers[name]), list(right.layers[name])
        if ours != theirs:
            first = next(path for path, other in zip(ours, theirs, strict=True) if path != other)
            yield Finding("order", "the same paths in another order in the tar; the first is this", name, path=first)
        else:
            yield Finding(
                "tar", "the same paths in the same order; the tar's headers or padding are written otherwise", name
            )


def _documents(left: ImageRef, right: ImageRef) -> Iterator[Finding]:
    """Values of config and manifest that say more than the layers do."""
    configs = [_values(json.loads(image.config_bytes()), "config", ("rootfs",)) for image in (left, right)]
    skipped = ("layers", "config")
    manifests = [_values(image.store.manifest(image.digest), "manifest", skipped) for image in (left, right)]
    for ours, theirs in (configs, manifests):
        for key in sorted({*ours, *theirs}):
            if ours.get(key) != theirs.get(key):
                yield Finding("config", f"{key} is {theirs.get(key, 'absent')} in place of {ours.get(key, 'absent')}")


def _values(document: Any, place: str, skipped: tuple[str, ...] = ()) -> dict[str, str]:
    """Each value of a JSON document by its place."""
    if not isinstance(document, dict) or not document:
        return {place: json.dumps(document, ensure_ascii=False)}
    found: dict[str, str] = {}
    for key, value in document.items():
        if key not in skipped:
            found.update(_values(value, f"{place}.{key}"))
    return found


def _grouped(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Many paths of a layer with the same kind of difference in an attribute, or moved, become one finding."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        alike = finding.cause in (*_ATTRIBUTES, "layer") and finding.path
        key = finding.detail if finding.cause == "layer" else ""
        groups.setdefault((finding.cause, finding.layer, key if alike else str(len(groups))), []).append(finding)
    for group in groups.values():
        if len(group) <= _GROUP:
            yield from group
            continue
        artifacts = {finding.artifact for finding in group}
        first = replace(group[0], artifact=artifacts.pop() if len(artifacts) == 1 else "")
        yield replace(first, detail=f"{first.detail} (this and {len(group) - 1:,} other paths of the layer)")
