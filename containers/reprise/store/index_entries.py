"""The entries of a layout's `index.json`: one a manifest, and for a manifest with several names one a name."""

from __future__ import annotations

from typing import Any

TAG = "org.opencontainers.image.ref.name"
"""The annotation that names an entry (OCI image spec v1.1, annotations.md)."""


def with_entry(manifests: list[dict[str, Any]], entry: dict[str, Any], tag: str | None) -> list[dict[str, Any]]:
    """The list with `entry` in it, and `tag` on no other; a manifest with several tags has an entry for each."""
    if tag is None and any(other["digest"] == entry["digest"] for other in manifests):
        return manifests  # it is listed, perhaps under tags of its own
    changed: list[dict[str, Any]] = []
    for other in manifests:
        its_tag = _tag(other)
        if other["digest"] == entry["digest"] and its_tag in (None, tag):
            other = entry
        elif tag is not None and its_tag == tag:
            other = _untagged(other)
        if other not in changed:
            changed.append(other)
    named = {other["digest"] for other in changed if _tag(other)}
    kept = [other for other in changed if other is entry or _tag(other) or other["digest"] not in named]
    return kept if entry in kept else [*kept, entry]


def _tag(entry: dict[str, Any]) -> Any:
    return entry.get("annotations", {}).get(TAG)


def _untagged(entry: dict[str, Any]) -> dict[str, Any]:
    notes = {key: value for key, value in entry["annotations"].items() if key != TAG}
    rest = {key: value for key, value in entry.items() if key != "annotations"}
    return {**rest, "annotations": notes} if notes else rest
