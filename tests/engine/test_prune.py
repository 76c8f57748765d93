"""What nothing refers to is removed from the unpacked images, and nothing else; a running run keeps its root."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_image import Entry, make_image

from reprise import prune as prune_module
from reprise.engine.flat_copy import flat_copy
from reprise.engine.interface import ImageRef, RunFolders
from reprise.engine.namespaces import _held, make_plan
from reprise.engine.unpack import unpack_layers, unpacked_folder
from reprise.kept_runs import RUN_TYPE
from reprise.prune import prune
from reprise.store import Store
from reprise.store.references import record_pull
from reprise_trainer.errors import InputError, SystemFailureError
from reprise_trainer.identity.inventory import MANIFEST_TYPE

NOISE = os.urandom(200_000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def unpacked(store: Store, number: int, tag: str = "small") -> str:
    """An image with one layer of its own and one that all share, unpacked; its tag moves to it."""
    layers = {"base": {"etc/name": Entry(b"base")}, "top": {"opt/x": Entry(bytes([number]) + NOISE)}}
    digest = make_image(store, layers, tag=tag).digest
    unpack(store, digest)
    return digest


def unpack(store: Store, digest: str) -> None:
    image = ImageRef(store, digest)
    flat_copy(image, unpack_layers(store, image.layers()))


def names(store: Store) -> set[str]:
    return {path.name for path in unpacked_folder(store).iterdir() if path.name != ".lock"}


def names_of(store: Store, *digests: str) -> set[str]:
    layers = {layer.diff_id.removeprefix("sha256:") for each in digests for layer in ImageRef(store, each).layers()}
    return layers | {f"image-{each.removeprefix('sha256:')}" for each in digests}


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs" / "sha256").iterdir()}


def test_what_a_tag_left_behind_goes_and_what_it_leads_to_stays(store: Store) -> None:
    old, new = unpacked(store, 1), unpacked(store, 2)
    before, everything = blobs(store), names(store)
    planned = prune(store, dry_run=True)
    assert names(store) == everything == names_of(store, old, new) and planned.dry_run
    done = prune(store)
    assert names(store) == names_of(store, new)
    assert {each.folder.name for each in done.removed} == names_of(store, old) - names_of(store, new)
    assert done.removed == planned.removed and done.bytes == planned.bytes
    assert len(NOISE) < done.bytes < 1.2 * len(NOISE)  # the shared layer frees nothing
    assert blobs(store) == before
    unpack(store, old)
    assert names(store) == everything


def test_what_a_run_record_is_about_stays(store: Store) -> None:
    run, forgotten, tagged = unpacked(store, 1), unpacked(store, 2), unpacked(store, 3)
    store.attach(run, RUN_TYPE, [("record.json", "application/json", b"{}")])
    prune(store)
    assert names(store) == names_of(store, run, tagged) and forgotten not in (run, tagged)


def test_what_was_pulled_by_its_digest_stays_and_what_a_moved_tag_left_goes(store: Store) -> None:
    by_digest, by_tag, tagged = unpacked(store, 1), unpacked(store, 2), unpacked(store, 3)
    record_pull(store, f"registry.example.org/team/small@{by_digest}", [by_digest])
    record_pull(store, "registry.example.org/team/small:1", [by_tag])
    prune(store)
    assert names(store) == names_of(store, by_digest, tagged)


def test_an_index_s_images_stay(store: Store) -> None:
    child, other = unpacked(store, 1), unpacked(store, 2)
    entry = {"mediaType": MANIFEST_TYPE, "digest": child, "size": len(store.read(child))}
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    store.put_manifest(index, kind, tag="all")
    prune(store)
    assert names(store) == names_of(store, child, other)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    yield
    os.close(descriptor)


def test_the_root_of_a_running_run_stays_until_it_ends(store: Store) -> None:
    running, _ = unpacked(store, 1), unpacked(store, 2)
    root = unpacked_folder(store) / f"image-{running.removeprefix('sha256:')}"
    with held(root):
        done = prune(store)
        assert [each.folder for each in done.in_use] == [root]
        assert (root / "opt" / "x").read_bytes()[1:] == NOISE
        assert done.bytes == 0  # its files are linked from there
    prune(store)
    assert not root.exists()


def test_a_run_that_begins_meanwhile_has_its_root_or_is_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = unpacked(store, 1), unpacked(store, 2)
    folders = [tmp_path / name for name in ("launch", "data", "output")]
    for folder in folders:
        folder.mkdir()
    plan = make_plan(ImageRef(store, old), RunFolders(*folders))
    count = prune_module._bytes_of

    def counted_while_a_run_begins(places: Iterable[Path]) -> int:
        with pytest.raises(SystemFailureError) as caught, _held(plan):
            pass
        assert "reprise prune" in caught.value.hint
        return count(places)

    monkeypatch.setattr(prune_module, "_bytes_of", counted_while_a_run_begins)
    assert prune(store).in_use == ()
    assert not Path(plan.flat).exists()


def test_a_layer_of_folders_far_too_deep_that_an_earlier_version_unpacked_goes_too(store: Store) -> None:
    old, new = unpacked(store, 1), unpacked(store, 2)
    root = os.open(unpacked_folder(store) / f"image-{old.removeprefix('sha256:')}", os.O_RDONLY)
    for depth in range(1, 1_501):
        os.mkdir("d/" * depth, dir_fd=root)
    os.close(root)
    prune(store)
    assert names(store) == names_of(store, new)


def test_nothing_is_removed_when_what_is_needed_can_not_be_read(store: Store) -> None:
    unpacked(store, 1)
    tagged = unpacked(store, 2)
    path = store.path(tagged)
    path.write_bytes(path.read_bytes() + b" ")
    before = names(store)
    with pytest.raises(InputError, match="damaged"):
        prune(store)
    assert names(store) == before


def test_strange_folders_are_left_alone(store: Store) -> None:
    unpacked(store, 1)
    strange = unpacked_folder(store) / "mine"
    strange.mkdir()
    prune(store)
    assert strange.is_dir()


def test_a_store_that_never_unpacked_has_nothing_to_prune(store: Store) -> None:
    assert prune(store).as_json() == {"dry_run": False, "removed": [], "in_use": [], "bytes": 0}
