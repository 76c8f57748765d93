"""Rebuild an image from what is kept beside it, and say how far the rebuilt one agrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from reprise.audit.rebuild import build_again
from reprise.audit.replay import workshop_folder
from reprise.diff import DiffReport, diff_images
from reprise.engine.interface import ImageRef
from reprise.events import OnEvent, ignore
from reprise.store import Store
from reprise.stored_image import read_inventory
from reprise_trainer.identity.inventory import Inventory

Level = Literal["same manifest", "same content, other compressor", "same files", "different"]
"""How far two images agree, best first; docs/rebuilding.md says what each level means."""


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """`expected` and `found` are manifest digests. `agrees` tells for manifest, config, diff_ids and file lists whether
    each is the same; `diff` names what differs."""

    expected: str
    found: str
    level: Level
    agrees: dict[str, bool]
    diff: DiffReport

    @property
    def same(self) -> bool:
        return self.level == "same manifest"

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "level": self.level,
            "expected": self.expected,
            "found": self.found,
            "agrees": self.agrees,
            "diff": self.diff.as_json(),
        }


def rebuild(digest: str, store: Store, *, on_event: OnEvent = ignore) -> RebuildReport:
    """Build an image of `store` again in an empty store, from the lock, environment and trainer kept beside it.

    Args:
        digest: the image's manifest digest.
        store: holds the image and what is kept with it; artifacts are taken from it where it has them. Only a folder of
            its cache is written, and removed in the end.
        on_event: told of progress.

    Raises:
        InputError: `reprise` did not build the image, or it is damaged.
        NotFoundError: its lock or source is not in the store.
        DoesNotHoldError: the lock or source beside it is another one than the image names.
        UnavailableError: an artifact is nowhere to be had.
    """
    expected = read_inventory(store, digest)
    with workshop_folder(store.cache) as folder:
        empty = Store.open(folder / "store")
        rebuilt = build_again(digest, store, empty, on_event=on_event)
        found = read_inventory(empty, rebuilt)
        agrees = {
            "manifest": rebuilt == digest,
            "config": found.config == expected.config,
            "diff_ids": _diff_ids(found) == _diff_ids(expected),
            "files": _file_lists(found) == _file_lists(expected),
        }
        diff = diff_images(ImageRef(store, digest), ImageRef(empty, rebuilt))
    return RebuildReport(digest, rebuilt, _level(agrees), agrees, diff)


def _diff_ids(inventory: Inventory) -> list[str]:
    return [layer.diff_id for layer in inventory.layers]


def _file_lists(inventory: Inventory) -> list[tuple[str, str]]:
    return [(layer.name, layer.list_digest) for layer in inventory.layers]


def _level(agrees: dict[str, bool]) -> Level:
    if agrees["manifest"]:
        return "same manifest"
    if agrees["config"] and agrees["diff_ids"]:
        return "same content, other compressor"
    if agrees["config"] and agrees["files"]:
        return "same files"
    return "different"
