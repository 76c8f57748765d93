"""What the store remembers of references: where a pull brought an image from, for which platform it chose it from an
index, and what a policy accepted under a tag.

A bundle binds no repository and no tag, so both can only be judged by who pulled. One file beside the layout's own,
which nothing that comes from outside can write: what is damaged is an error, never an empty memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reprise.store.layout import Store
from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError

FILE = "references.json"
FORMAT = 1


def pulled_from(store: Store, digest: str) -> list[str]:
    """The references (`host/path:tag` or `host/path@digest`) that pulls brought a manifest from, the first one first.

    Raises:
        InputError: the memory is damaged.
    """
    return list(_read(store)["pulled"].get(digest, []))


def for_platform(reference: str, platform: str) -> str:
    """What a tag's past is kept under for the images that were chosen for a platform: one past for each."""
    return f"{reference} ({platform})" if platform else reference


def chosen_under(store: Store, digest: str, reference: str) -> list[str]:
    """A reference's names, one a platform (`for_platform`), under which pulls chose this image from an index.

    Raises:
        InputError: the memory is damaged.
    """
    return [each for each in _read(store)["chosen"].get(digest, []) if each.startswith(f"{reference} (")]


def record_pull(store: Store, reference: str, digests: list[str], *, platform: str = "") -> None:
    """Remember that a pull of `reference` brought these manifests; with `platform`, the image for it of an index.

    Raises:
        InputError: the memory is damaged.
        StorageError: it cannot be written.
    """
    with _changing(store) as memory:
        for digest in digests:
            known = memory["pulled"].setdefault(digest, [])
            if reference not in known:
                known.append(reference)
            chosen = memory["chosen"].setdefault(digest, []) if platform else []
            if platform and for_platform(reference, platform) not in chosen:
                chosen.append(for_platform(reference, platform))


def accepted_under(store: Store, reference: str) -> list[str]:
    """The digests that a policy accepted under a tagged reference, the last one last.

    Raises:
        InputError: the memory is damaged.
    """
    return list(_read(store)["accepted"].get(reference, []))


def record_accepted(store: Store, reference: str, digest: str) -> None:
    """Remember that a policy accepted an image under a tagged reference, as the last one.

    Raises:
        InputError: the memory is damaged.
        StorageError: it cannot be written.
    """
    with _changing(store) as memory:
        before = memory["accepted"].get(reference, [])
        memory["accepted"][reference] = [*(each for each in before if each != digest), digest]


def _read(store: Store) -> dict[str, Any]:
    path = store.root / FILE
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, expected {FORMAT}")
        document.setdefault("chosen", {})  # what earlier versions wrote has none
        for part in ("pulled", "accepted", "chosen"):
            for values in document[part].values():
                if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
                    raise ValueError(f"{part} is not a table of lists")
    except FileNotFoundError:
        return {"format": FORMAT, "pulled": {}, "accepted": {}, "chosen": {}}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged: {error}",
            hint="It says which image was last accepted under a tag. Restore it, or delete it to begin without memory.",
        ) from error
    return dict(document)


@contextmanager
def _changing(store: Store) -> Iterator[dict[str, Any]]:
    """The memory, written back when the block changed it; one process at a time."""
    path = store.root / FILE
    try:
        with store.locked():
            memory = _read(store)
            before = canonical_json(memory)
            yield memory
            if canonical_json(memory) != before:
                write_durably(path, canonical_json(memory))
    except OSError as error:
        raise storage_error(error, path) from error
