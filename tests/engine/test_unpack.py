"""Layers are unpacked as they are, once; whatever an image must not hold is refused and leaves nothing."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from small_image import ZSTD_LAYER, base_entries, make_image, tiny_entries

from reprise.engine.flat_copy import flat_copy, flat_copy_meanwhile
from reprise.engine.interface import ImageRef, Layer
from reprise.engine.remove import remove_tree
from reprise.engine.unpack import unpack_layers, unpacked_folder
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, NotFoundError, StorageError
from reprise_trainer.identity.measure import measure

PLAIN = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def unpacked(store: Store) -> list[Path]:
    return [path for path in unpacked_folder(store).iterdir() if path.name != ".lock"]


def _layer(store: Store, *members: tarfile.TarInfo, data: bytes = b"") -> Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data))
    blob = buffer.getvalue()
    digest = store.add(blob)
    return Layer(PLAIN, digest, len(blob), digest)


def _member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


FOLDER = _member("d", tarfile.DIRTYPE, mode=0o755)


def test_the_unpacked_layers_together_measure_as_the_image(store: Store) -> None:
    made = make_image(store, {"base": base_entries(), "torch": tiny_entries()})
    image = ImageRef(store, made.digest)
    root = flat_copy(image, unpack_layers(store, image.layers()))
    measurement = measure(root, owner=(os.getuid(), os.getgid()))
    assert (measurement.digest, measurement.differences) == (made.digest, ())


def test_the_flat_copy_holds_no_file_twice(store: Store) -> None:
    image = ImageRef(store, make_image(store, {"base": base_entries(), "torch": tiny_entries()}).digest)
    root = flat_copy(image, unpack_layers(store, image.layers()))
    library = next(root.rglob("libtorch.so"))
    assert library.stat().st_nlink == 2


def test_a_second_unpacking_touches_nothing(store: Store) -> None:
    image = ImageRef(store, make_image(store, {"base": base_entries(), "torch": tiny_entries()}).digest)
    names = unpack_layers(store, image.layers())
    before = {path: path.stat().st_ino for path in unpacked(store)}
    for layer in image.layers():
        store.path(layer.digest).unlink()  # so that reading one again would fail
    assert unpack_layers(store, image.layers()) == names
    assert {path: path.stat().st_ino for path in unpacked(store)} == before


def test_what_a_killed_unpacking_left_is_removed_by_the_next(store: Store) -> None:
    left = unpacked_folder(store) / ".part-killed"
    left.mkdir(parents=True)
    (left / "file").write_text("half")
    unpack_layers(store, [_layer(store, FOLDER)])
    assert not left.exists()


def nested(folder: Path, depth: int) -> None:
    """Folders in one another, the innermost of a mode that lets nobody in who is not root."""
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    for number in range(1, depth + 1):
        os.mkdir("d/" * number, 0o700 if number < depth else 0, dir_fd=descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("depth", [2, 1_500])
def test_what_was_left_is_removed_however_deep_it_is(store: Store, tmp_path: Path, depth: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    left = unpacked_folder(store) / ".part-killed"
    nested(left, depth)
    (left / "d" / "link").symlink_to(outside)
    (name,) = unpack_layers(store, [_layer(store, FOLDER)])
    assert [path.name for path in unpacked(store)] == [name]
    assert (outside / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.REGTYPE])
def test_a_layer_of_far_too_many_folders_in_one_another_is_refused(store: Store, kind: bytes) -> None:
    folders = [_member("/".join("d" * number), tarfile.DIRTYPE, mode=0o755) for number in range(1, 257)]
    unpack_layers(store, [_layer(store, *folders)])
    with pytest.raises(InputError, match="deeper than 256 folders"):
        unpack_layers(store, [_layer(store, *folders, _member("/".join("d" * 257), kind))])
    assert len(unpacked(store)) == 1


def test_a_folder_that_can_not_be_written_is_named(store: Store) -> None:
    (unpacked_folder(store) / ".lock").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*\.lock"):
        unpack_layers(store, [_layer(store, FOLDER)])


@pytest.mark.parametrize("spoilt", ["lock", "layer"])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_copy_that_can_not_be_made_beside_a_run_is_not_heard(store: Store, spoilt: str) -> None:
    image = ImageRef(store, make_image(store, {"base": base_entries()}).digest)
    names = unpack_layers(store, image.layers())
    if spoilt == "lock":
        (unpacked_folder(store) / ".lock").unlink()
        (unpacked_folder(store) / ".lock").mkdir()
    else:
        nested(unpacked_folder(store) / names[0] / "deep", 1_500)  # an earlier version took such a layer
    with flat_copy_meanwhile(image, names):
        pass
    left = {path.name for path in unpacked(store)}
    remove_tree(unpacked_folder(store) / names[0])  # what clears up behind tests can't remove so deep a folder
    assert left == set(names)


def test_several_at_once_give_one_result(store: Store) -> None:
    image = ImageRef(store, make_image(store, {"base": base_entries(), "torch": tiny_entries()}).digest)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: unpack_layers(store, image.layers()), range(4)))
    assert all(result == results[0] for result in results)
    assert sorted(path.name for path in unpacked(store)) == sorted(results[0])


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([_member("/etc/passwd")], "not a path beneath the root"),
        ([_member("../evil")], "not a path beneath the root"),
        ([FOLDER, _member("d/../../evil")], "not a path beneath the root"),
        ([FOLDER, _member("d//x")], "not a path beneath the root"),
        ([_member("null", tarfile.CHRTYPE)], "neither a file, nor a folder, nor a symlink"),
        ([_member("disk", tarfile.BLKTYPE)], "neither a file, nor a folder, nor a symlink"),
        ([_member("pipe", tarfile.FIFOTYPE)], "neither a file, nor a folder, nor a symlink"),
        ([_member("hard", tarfile.LNKTYPE, link="/etc/shadow")], "neither a file, nor a folder, nor a symlink"),
        ([FOLDER, _member("d/.wh.x")], "a whiteout"),
        ([_member("missing/x")], "its parent is not a folder of this layer"),
        ([_member("d", tarfile.SYMTYPE, link="/etc"), _member("d/x")], "its parent is not a folder of this layer"),
        ([FOLDER, _member("d", tarfile.SYMTYPE, link="/etc")], "it replaces a folder"),
        ([_member("up", tarfile.SYMTYPE, link="../../etc/passwd")], "a link that leaves the root"),
        ([FOLDER, _member("d/up", tarfile.SYMTYPE, link="../../etc")], "a link that leaves the root"),
        ([_member("nowhere", tarfile.SYMTYPE)], "a link to what is no path"),
        ([_member("d", tarfile.SYMTYPE, link="/tmp"), FOLDER, _member("d/x")], "'d' twice"),
        ([_member("d"), FOLDER], "'d' twice"),
        ([_member("x"), _member("x")], "'x' twice"),
        ([_member("x", tarfile.SYMTYPE, link="y"), _member("x")], "'x' twice"),
        ([_member("x"), _member("x", tarfile.SYMTYPE, link="y")], "'x' twice"),
    ],
)
def test_what_no_image_of_ours_holds_is_refused(store: Store, members: list[tarfile.TarInfo], why: str) -> None:
    with pytest.raises(InputError, match=why):
        unpack_layers(store, [_layer(store, *members)])
    assert unpacked(store) == []


def test_a_folder_with_content_of_its_own_is_refused(store: Store) -> None:
    blob = _header("d/", 512, tarfile.DIRTYPE) + _header("hidden", 0) + bytes(1024)  # some readers skip the 512 bytes
    digest = store.add(blob)
    with pytest.raises(InputError, match="neither a file, nor a folder, nor a symlink"):
        unpack_layers(store, [Layer(PLAIN, digest, len(blob), digest)])
    assert unpacked(store) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_modes_do_not_depend_on_the_umask(store: Store, umask: int) -> None:
    modes = {f"d/{mode:o}": mode for mode in (0o644, 0o755, 0o666, 0o600, 0o4711)}
    before = os.umask(umask)
    try:
        files = [_member(name, mode=mode) for name, mode in modes.items()]
        (name,) = unpack_layers(store, [_layer(store, FOLDER, *files)])
    finally:
        os.umask(before)
    root = unpacked_folder(store) / name
    assert {path: (root / path).stat().st_mode & 0o7777 for path in (*modes, "d")} == {**modes, "d": 0o755}


def test_a_link_with_a_null_byte_is_refused(store: Store) -> None:
    link = _member("link", tarfile.SYMTYPE)
    link.pax_headers = {"linkpath": "a\0b"}
    with pytest.raises(InputError, match=r"a link to what is no path \('a\\x00b'\)"):
        unpack_layers(store, [_layer(store, link)])
    assert unpacked(store) == []


def test_links_within_the_root_are_made_as_they_are(store: Store) -> None:
    links = {"d/up": "../x", "abs": "/proc/mounts", "dangling": "nowhere"}
    members = [_member(name, tarfile.SYMTYPE, link=target) for name, target in links.items()]
    (name,) = unpack_layers(store, [_layer(store, FOLDER, *members)])
    root = unpacked_folder(store) / name
    assert {link: str((root / link).readlink()) for link in links} == links


def test_modes_and_times_are_the_layers(store: Store) -> None:
    folder, file = _member("t", tarfile.DIRTYPE, mode=0o1777), _member("t/x", mode=0o4755)
    folder.mtime = file.mtime = 315_532_800
    (name,) = unpack_layers(store, [_layer(store, folder, file, data=b"x")])
    for path, mode in (("t", 0o1777), ("t/x", 0o4755)):
        status = (unpacked_folder(store) / name / path).stat()
        assert (status.st_mode & 0o7777, status.st_mtime) == (mode, 315_532_800)


def test_a_tar_other_than_the_configs_is_refused(store: Store) -> None:
    layer = _layer(store, FOLDER)
    with pytest.raises(InputError, match=f"unpacks to {layer.diff_id}, the image's config says sha256:00"):
        unpack_layers(store, [Layer(layer.media_type, layer.digest, layer.size, "sha256:" + 64 * "0")])
    assert unpacked(store) == []


def _damaged(store: Store, change: Callable[[bytes], bytes]) -> Layer:
    blob = change(zstandard.ZstdCompressor().compress(os.urandom(100_000)))
    return Layer(ZSTD_LAYER, store.add(blob), len(blob), sha256_digest(b""))


def test_a_damaged_gzip_blob_is_refused(store: Store) -> None:
    blob = bytearray(gzip.compress(os.urandom(5_000)))
    blob[10] = 0xFF  # the first block's kind: there is none of this
    digest = store.add(bytes(blob))
    with pytest.raises(InputError, match=f"{digest} can't be unpacked"):
        unpack_layers(store, [Layer(PLAIN + "+gzip", digest, len(blob), sha256_digest(b""))])
    assert unpacked(store) == []


@pytest.mark.parametrize(
    "change", [lambda blob: blob[:-5000], lambda blob: b"x" + blob, lambda blob: blob[:9] + b"\xff" + blob[10:]]
)
def test_a_damaged_blob_is_refused(store: Store, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InputError):
        unpack_layers(store, [_damaged(store, change)])
    assert unpacked(store) == []


def test_a_blob_that_unpacks_to_far_too_much_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reprise.engine.layer_stream.FLOOR_BYTES", 1 << 20)
    zeros = zstandard.ZstdCompressor(level=1).compress(tarfile.TarInfo("x").tobuf() + bytes(1 << 26))
    layer = Layer(ZSTD_LAYER, store.add(zeros), len(zeros), sha256_digest(b""))
    with pytest.raises(InputError, match="unpacks to more than"):
        unpack_layers(store, [layer])


def _zstd_zeros(head: bytes, length: int) -> bytes:
    """A zstd frame (RFC 8878) of `head` and so many zeros: 128 KiB of them are four bytes (an RLE block)."""
    block = 1 << 17
    raw = (len(head) << 3 | 0 << 1).to_bytes(3, "little") + head
    run = (block << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (0 << 3 | 0 << 1 | 1).to_bytes(3, "little")
    return bytes.fromhex("28b52ffd 00 38") + raw + run * (length // block) + last


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE, form: int = tarfile.GNU_FORMAT) -> bytes:
    info = _member(name, kind)
    info.size = size
    return info.tobuf(format=form)


def test_a_hundred_gigabytes_of_zeros_in_few_megabytes_are_refused_before_a_byte_is_written(store: Store) -> None:
    length = 100 << 30
    bomb = _zstd_zeros(_header("zeros", length), length)
    assert len(bomb) < 10 << 20
    with pytest.raises(InputError, match=r"holds 'zeros' of 107,374,182,400 bytes: too many"):
        unpack_layers(store, [Layer(ZSTD_LAYER, store.add(bomb), len(bomb), sha256_digest(b""))])
    assert unpacked(store) == []


def test_a_bomb_of_many_files_stops_at_the_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reprise.engine.layer_stream.FLOOR_BYTES", 1 << 20)
    files = b"".join(_header(f"{number}", 1 << 20) + bytes(1 << 20) for number in range(40))
    blob = zstandard.ZstdCompressor().compress(files)
    layer = Layer(ZSTD_LAYER, store.add(blob), len(blob), sha256_digest(b""))
    with pytest.raises(InputError, match=r"too many|unpacks to more"):
        unpack_layers(store, [layer])
    assert unpacked(store) == []


def test_a_sparse_file_is_refused_whatever_size_it_claims(store: Store) -> None:
    header = bytearray(_header("hole", 0, tarfile.GNUTYPE_SPARSE))
    header[483:495] = b"%011o\0" % (1 << 30)  # GNU tar: the real size; no data follows, so the stream never grows
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    blob = bytes(header) + bytes(1024)
    digest = store.add(blob)
    with pytest.raises(InputError, match="a sparse file, which could be of any size"):
        unpack_layers(store, [Layer(PLAIN, digest, len(blob), digest)])
    assert unpacked(store) == []


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_a_gigabyte_is_refused_unread(store: Store, kind: bytes) -> None:
    length = 1 << 30
    blob = _zstd_zeros(_header("pax", length, kind), length)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="a tar header of 1,073,741,824 bytes"):
            unpack_layers(store, [Layer(ZSTD_LAYER, store.add(blob), len(blob), sha256_digest(b""))])
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert unpacked(store) == []


@pytest.mark.parametrize("link_first", [True, False])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.REGTYPE])
def test_a_folder_of_one_layer_is_not_merged_with_what_is_none_in_another(
    store: Store, tmp_path: Path, kind: bytes, link_first: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    other = _layer(store, _member("d", kind, link=str(outside) if kind == tarfile.SYMTYPE else ""))
    files = _layer(store, FOLDER, _member("d/evil"), data=b"x")
    layers = [other, files] if link_first else [files, other]
    image = ImageRef(store, sha256_digest(b"not needed"))
    with pytest.raises(InputError, match="is no folder, and another layer has a folder there"):
        flat_copy(image, unpack_layers(store, layers))
    assert list(outside.iterdir()) == []
    assert not any(path.name.startswith(("image-", ".part-")) for path in unpacked(store))


def test_a_folder_of_several_layers_is_as_the_highest_has_it(store: Store) -> None:
    low, high = _member("d", tarfile.DIRTYPE, mode=0o700), _member("d", tarfile.DIRTYPE, mode=0o755)
    low.mtime, high.mtime = 1_000, 2_000
    layers = [_layer(store, low, _member("d/low"), data=b"l"), _layer(store, high, _member("d/high"), data=b"h")]
    root = flat_copy(ImageRef(store, sha256_digest(b"not needed")), unpack_layers(store, layers))
    status = (root / "d").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o755, 2_000)
    assert sorted(path.name for path in (root / "d").iterdir()) == ["high", "low"]


def test_a_layer_that_the_store_lacks_is_named(store: Store) -> None:
    digest = sha256_digest(b"gone")
    with pytest.raises(NotFoundError, match=digest):
        unpack_layers(store, [Layer(ZSTD_LAYER, digest, 1, digest)])


def test_an_unknown_kind_of_layer_is_refused(store: Store) -> None:
    layer = _layer(store, FOLDER)
    with pytest.raises(InputError, match="which is not a layer's"):
        unpack_layers(store, [Layer("text/plain", layer.digest, layer.size, layer.diff_id)])


def test_a_full_disk_is_said_with_its_place_and_leaves_nothing(small_disk: Path) -> None:
    store = Store.open(small_disk / "store")
    big = zstandard.ZstdCompressor().compress(_tar_of(bytes(8 << 20)))
    layer = Layer(ZSTD_LAYER, store.add(big), len(big), sha256_digest(_tar_of(bytes(8 << 20))))
    with pytest.raises(StorageError, match=str(small_disk)):
        unpack_layers(store, [layer])
    assert unpacked(store) == []


def _tar_of(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("big")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
