"""A bundle is refused for whatever is wrong with it, in one message, and an image that is not whole is never listed."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprise.bundle.read import load_bundle
from reprise.bundle.write import write_bundle
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.verify import verify_image
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, StorageError

from .conftest import Members, Shipped


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


ADDED = {
    "a path out of the folder": member("../escaped", b"x"),
    "an absolute path": member("/etc/passwd", b"x"),
    "a path that goes out and in": member("blobs/sha256/../../escaped", b"x"),
    "a link": member("blobs/sha256/" + "0" * 64, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": member("blobs/sha256/" + "0" * 64, type=tarfile.LNKTYPE, linkname="oci-layout"),
    "a device": member("blobs/sha256/" + "0" * 64, type=tarfile.BLKTYPE, devmajor=8),
    "a pipe": member("blobs/sha256/" + "0" * 64, type=tarfile.FIFOTYPE),
    "a folder of its own": member("etc", type=tarfile.DIRTYPE),
    "a sparse file": member("blobs/sha256/" + "0" * 64, type=tarfile.GNUTYPE_SPARSE),
    "a long name": member("blobs/sha256/" + "0" * 200, b"x"),
    "an extended header": member("pax", b"20 path=/etc/passwd\n", type=tarfile.XHDTYPE),
    "a blob of another kind": member("blobs/sha512/" + "0" * 128, b"x"),
    "a blob that nothing names": member("blobs/sha256/" + "0" * 64, b"x"),
    "an upper-case digest": member("blobs/sha256/" + "A" * 64, b"x"),
    "index.json twice": member("index.json", b"{}"),
}


@pytest.mark.parametrize("added", ADDED.values(), ids=ADDED.keys())
def test_what_does_not_belong_there_is_refused_before_anything_is_written(
    shipped: Shipped, added: tuple[tarfile.TarInfo, bytes]
) -> None:
    shipped.spoil(lambda members: members.append(added))
    with pytest.raises(InputError):
        load_bundle(shipped.file, shipped.there)
    assert shipped.is_untouched()
    assert not (shipped.there.root.parent / "escaped").exists()


def change_index(change: Callable[[dict], None]) -> Callable[[Members], None]:  # type: ignore[type-arg]
    def apply(members: Members) -> None:
        document = json.loads(members[1][1])
        change(document)
        members[1] = member("index.json", json.dumps(document).encode())

    return apply


INDEXES = {
    "no list": lambda index: index.pop("manifests"),
    "no image": lambda index: [each.pop("annotations", None) for each in index["manifests"]],
    "two images": lambda index: [
        each.update(annotations={"reprise.bundle.image": "true"}) for each in index["manifests"]
    ],
    "not a digest": lambda index: index["manifests"][0].update(digest="sha256:../../x"),
    "one twice": lambda index: index["manifests"].append(index["manifests"][0]),
    "one that is not there": lambda index: index["manifests"][0].update(digest="sha256:" + "1" * 64),
    "one too few": lambda index: index["manifests"].remove(
        next(each for each in index["manifests"] if "annotations" not in each)
    ),
}


@pytest.mark.parametrize("change", INDEXES.values(), ids=INDEXES.keys())
def test_an_index_that_does_not_fit_is_refused(shipped: Shipped, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    shipped.spoil(change_index(change))
    with pytest.raises(InputError):
        load_bundle(shipped.file, shipped.there)
    assert shipped.is_untouched()


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b"{", b"\xff", b'{"manifests": 1}', b"[]"], ids=lambda data: str(data[:9])
)
def test_an_index_that_is_no_sound_json_is_refused(shipped: Shipped, data: bytes) -> None:
    shipped.spoil(lambda members: members.__setitem__(1, member("index.json", data)))
    with pytest.raises(InputError):
        load_bundle(shipped.file, shipped.there)


def test_each_changed_blob_is_found_and_no_image_listed(shipped: Shipped) -> None:
    with tarfile.open(shipped.file) as archive:
        places = [(each.name, each.offset_data) for each in archive if each.name.startswith("blobs/")]
    whole = shipped.file.read_bytes()
    assert len(places) > 10
    for name, place in places:
        shipped.file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"is damaged") as caught:
            load_bundle(shipped.file, shipped.there)
        assert name.rpartition("/")[2] in caught.value.message
        assert shipped.there.listed() == []
        assert list((shipped.there.root / "partial").iterdir()) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_bundle_that_was_cut_anywhere_is_refused(shipped: Shipped, share: float) -> None:
    data = shipped.file.read_bytes()
    end = len(data) - 1024  # the end of a tar is two blocks of zeros
    cut = shipped.file.with_name("cut.tar")
    cut.write_bytes(data[: int(share * end)])
    with pytest.raises(InputError):
        load_bundle(cut, shipped.there)
    assert shipped.is_untouched()


def test_a_size_that_lies_is_refused(shipped: Shipped) -> None:
    """A header that says 8 TiB, in a file of some kilobytes."""
    info = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
    info.size = 1 << 43
    data = shipped.file.read_bytes()
    shipped.file.write_bytes(data[:-1024] + info.tobuf(tarfile.GNU_FORMAT) + data[-1024:])
    with pytest.raises(InputError, match="breaks off"):
        load_bundle(shipped.file, shipped.there)


def test_a_compressed_bundle_is_not_unpacked(shipped: Shipped) -> None:
    """So that a small file can't be a large one."""
    shipped.file.write_bytes(gzip.compress(shipped.file.read_bytes()))
    with pytest.raises(InputError, match="not a tar file"):
        load_bundle(shipped.file, shipped.there)


def test_a_huge_manifest_is_not_read(shipped: Shipped) -> None:
    def grow(members: Members) -> None:
        members[1] = member("index.json", b" " * (5 << 20))

    shipped.spoil(grow)
    with pytest.raises(InputError, match="at most 4194304 are read"):
        load_bundle(shipped.file, shipped.there)


def test_a_policy_that_does_not_hold_is_said_before_a_layer_is_read(shipped: Shipped) -> None:
    layer = shipped.origin.manifest(shipped.digest)["layers"][1]["digest"].removeprefix("sha256:")

    def rot(members: Members) -> None:
        at = next(number for number, (info, _) in enumerate(members) if info.name.endswith(layer))
        members[at] = member(members[at][0].name, bytes(members[at][0].size))

    shipped.spoil(rot)
    stranger = own_policy(make_key().public_key())
    with pytest.raises(DoesNotHoldError, match="policy does not hold"):
        load_bundle(shipped.file, shipped.there, check=lambda s, d: verify_image(s, d, stranger).require())
    assert shipped.is_untouched()


def test_an_unsigned_image_is_not_loaded_where_a_policy_is_named(shipped: Shipped) -> None:
    other = Store.open(shipped.there.root.parent / "unsigned")
    manifest = shipped.origin.manifest(shipped.digest)
    for blob in (manifest["config"], *manifest["layers"]):
        other.add(shipped.origin.read(blob["digest"]))
    other.put_manifest(shipped.origin.read(shipped.digest))
    write_bundle(other, shipped.digest, shipped.file)
    with pytest.raises(DoesNotHoldError, match="the image has no signatures"):
        load_bundle(shipped.file, shipped.there, check=shipped.check)
    assert shipped.is_untouched()


def test_a_full_disk_is_said_before_anything_is_written(shipped: Shipped, small_disk: Path) -> None:
    digest = shipped.origin.add(os.urandom(5_000_000))
    write_bundle(shipped.origin, shipped.digest, shipped.file, data=[("big", digest)])
    store = Store.open(small_disk / "store")
    with pytest.raises(StorageError, match="are free"):
        load_bundle(shipped.file, store)
    assert store.listed() == [] and not list((store.root / "blobs" / "sha256").iterdir())


def test_a_bundle_that_is_not_there_is_said(shipped: Shipped) -> None:
    with pytest.raises(NotFoundError, match="cannot read the bundle"):
        load_bundle(shipped.file.with_name("none.tar"), shipped.there)
