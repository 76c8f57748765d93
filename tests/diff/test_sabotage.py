"""One thing is changed in a copy of an image; the comparison names layer, artifact, path and cause of just that."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import zstandard
from remade import Edit, Member, keep, remake
from small_image import SmallImage
from tests.diff.conftest import PACKAGES, SOURCE, pyc

from reprise.diff import Finding, diff_image_and_root, diff_images
from reprise.diff.report import Cause
from reprise.engine.interface import ImageRef

SHAPE, NAMES, DEMO = "pkg:pypi/shape@1.0", "pkg:pypi/other-names@2.0", "pkg:deb/debian/demo@1:2-3?arch=amd64"
PYC = f"{PACKAGES}/__pycache__/shape.cpython-311.pyc"
LIBRARY, ABOUT = "usr/lib/libdemo.so", "usr/share/demo/about"


def header(path: str, **changes: object) -> Edit:
    def edit(members: list[Member]) -> list[Member]:
        for info, _ in members:
            if info.name == path:
                for name, value in changes.items():
                    setattr(info, name, value)
        return members

    return edit


def bytes_of(path: str, change: Callable[[bytes], bytes]) -> Edit:
    def edit(members: list[Member]) -> list[Member]:
        assert any(info.name == path for info, _ in members)
        return [(info, change(data) if info.name == path else data) for info, data in members]

    return edit


def without(path: str) -> Edit:
    return lambda members: [each for each in members if each[0].name != path]


def moved(data: bytes) -> bytes:
    """A prefix replaced in a binary file: the string ends in as many NULs as it has become shorter."""
    return data.replace(b"/opt/env/share/locale\0", b"/srv/x/share/locale\0\0\0")


SABOTAGE: dict[str, tuple[str, Edit, tuple[str, str, str], str]] = {
    "a file's mode": (
        "wheels",
        header(f"{PACKAGES}/shape.py", mode=0o600),
        ("mode", SHAPE, f"{PACKAGES}/shape.py"),
        "0600 in place of 0644",
    ),
    "a folder's mode": ("base", header("tmp", mode=0o755), ("mode", "", "tmp"), "0755 in place of 1777"),
    "an owner": ("deb", header(LIBRARY, uid=1000), ("owner", DEMO, LIBRARY), "1000:0 in place of 0:0"),
    "an owner's name": ("deb", header(LIBRARY, uname="me"), ("owner", DEMO, LIBRARY), "(me:)"),
    "a time": (
        "deb",
        header(LIBRARY, mtime=1_700_000_000),
        ("time", DEMO, LIBRARY),
        "2023-11-14T22:13:20Z in place of",
    ),
    "a time's fraction": ("deb", header(LIBRARY, mtime=315_532_800.5), ("time", DEMO, LIBRARY), "00.500000000Z"),
    "a link": (
        "wheels",
        header(f"{PACKAGES}/latest", linkname="shape.py"),
        ("link target", SHAPE, f"{PACKAGES}/latest"),
        "shape.py in place of names.txt",
    ),
    "a link in place of a file": (
        "wheels",
        lambda members: header(f"{PACKAGES}/names.txt", type=tarfile.SYMTYPE, linkname="latest", mode=0o777)(
            bytes_of(f"{PACKAGES}/names.txt", lambda _: b"")(members)
        ),
        ("type", NAMES, f"{PACKAGES}/names.txt"),
        "a symlink in place of a file",
    ),
    "an extended attribute": (
        "deb",
        header(LIBRARY, pax_headers={"SCHILY.xattr.user.note": "x"}),
        ("attributes", DEMO, LIBRARY),
        "SCHILY.xattr.user.note=x in place of none",
    ),
    "a missing file": (
        "wheels",
        without("usr/local/bin/names"),
        ("missing", NAMES, "usr/local/bin/names"),
        "only the left",
    ),
    "bytecode, with the same source": (
        "wheels",
        bytes_of(
            PYC,
            lambda _: pyc(SOURCE.replace(b"3", b"4"))[:8] + pyc(SOURCE)[8:16] + pyc(SOURCE.replace(b"3", b"4"))[16:],
        ),
        ("bytecode", SHAPE, PYC),
        "the source is the same; the code differs: at offset",
    ),
    "bytecode that is checked by time": (
        "wheels",
        bytes_of(PYC, lambda _: pyc(SOURCE, flags=0)),
        ("bytecode", SHAPE, PYC),
        "header: never checked in place of checked by time; the code is the same",
    ),
    "bytecode of another Python": (
        "wheels",
        bytes_of(PYC, lambda data: b"\xcb\x0d" + data[2:]),
        ("bytecode", SHAPE, PYC),
        "different versions of Python",
    ),
    "a prefix in a text": (
        "base",
        bytes_of("usr/bin/run", lambda data: data.replace(b"/opt/env", b"/home/me/work")),
        ("prefix", "", "usr/bin/run"),
        "/home/me/work in place of /opt/env",
    ),
    "a prefix in a binary": ("deb", bytes_of(LIBRARY, moved), ("prefix", DEMO, LIBRARY), "/srv/x in place of /opt/env"),
    "a date in a text": (
        "deb",
        bytes_of(ABOUT, lambda data: data.replace(b"2026-01-02T03:04:05Z", b"2027-05-06T07:08:09Z")),
        ("time", DEMO, ABOUT),
        "only dates and times",
    ),
    "a time in a gzip header": (
        "deb",
        bytes_of(f"{ABOUT}.gz", lambda data: gzip.compress(gzip.decompress(data), 6, mtime=2)),
        ("time", DEMO, f"{ABOUT}.gz"),
        "the time in its header",
    ),
    "a file packed otherwise": (
        "deb",
        bytes_of(f"{ABOUT}.gz", lambda data: gzip.compress(gzip.decompress(data), 0, mtime=1)),
        ("compressor", DEMO, f"{ABOUT}.gz"),
        "another compressor",
    ),
    "the order of lines": (
        "wheels",
        bytes_of(f"{PACKAGES}/names.txt", lambda data: b"three\none\ntwo\n"),
        ("order", NAMES, f"{PACKAGES}/names.txt"),
        "same lines",
    ),
    "the ends of lines": (
        "wheels",
        bytes_of(f"{PACKAGES}/names.txt", lambda data: data.replace(b"\n", b"\r\n")),
        ("line endings", NAMES, f"{PACKAGES}/names.txt"),
        "ends of lines",
    ),
    "a text": (
        "wheels",
        bytes_of(f"{PACKAGES}/names.txt", lambda data: data.replace(b"two", b"2")),
        ("content", NAMES, f"{PACKAGES}/names.txt"),
        "offset 4; 14 and 12 bytes",
    ),
    "a binary": (
        "deb",
        bytes_of(LIBRARY, lambda data: data.replace(b"end", b"End")),
        ("content", DEMO, LIBRARY),
        "offset 92; 96 and 96 bytes",
    ),
    "the order of the tar": (
        "deb",
        lambda members: [*members[:-2], members[-1], members[-2]],
        ("order", "", "var/lib/dpkg/status.d/demo"),
        "another order in the tar",
    ),
}
IN_TESTS_OF_THEIR_OWN = {"added", "tar", "layer", "config"}


def test_every_cause_is_tried() -> None:
    assert {named[0] for _, _, named, _ in SABOTAGE.values()} | IN_TESTS_OF_THEIR_OWN == set(get_args(Cause))


@pytest.mark.parametrize("what", SABOTAGE)
def test_what_was_changed_is_named(image: SmallImage, what: str) -> None:
    layer, edit, (cause, artifact, path), detail = SABOTAGE[what]
    copy = remake(image.store, image.digest, layer, edit)
    report = diff_images(ImageRef(image.store, image.digest), ImageRef(image.store, copy))
    (finding,) = report.findings
    assert (finding.cause, finding.layer, finding.artifact, finding.path) == (cause, layer, artifact, path)
    assert detail in finding.detail
    turned = diff_images(ImageRef(image.store, copy), ImageRef(image.store, image.digest)).findings[0].cause
    assert turned == {"missing": "added", "added": "missing"}.get(cause, cause)


def test_an_image_is_the_same_as_itself(image: SmallImage) -> None:
    ref = ImageRef(image.store, image.digest)
    assert diff_images(ref, ref).same


def test_a_text_is_shown_line_by_line(image: SmallImage) -> None:
    layer, edit, _, _ = SABOTAGE["a text"]
    (finding,) = compared(image, remake(image.store, image.digest, layer, edit))
    assert {"-two", "+2"} <= set(finding.lines)


def test_changed_code_is_found_in_its_function(image: SmallImage) -> None:
    layer, edit, _, _ = SABOTAGE["bytecode, with the same source"]
    (finding,) = compared(image, remake(image.store, image.digest, layer, edit))
    assert "in area: constant 3 in place of 4" in finding.detail


def test_a_source_that_differs_is_said_of_its_bytecode(image: SmallImage) -> None:
    other = SOURCE.replace(b"3", b"4")

    def edit(members: list[Member]) -> list[Member]:
        return bytes_of(PYC, lambda _: pyc(other))(bytes_of(f"{PACKAGES}/shape.py", lambda _: other)(members))

    findings = compared(image, remake(image.store, image.digest, "wheels", edit))
    assert [finding.cause for finding in findings] == ["bytecode", "content"]
    assert findings[0].detail.startswith("the source differs too; header: another hash of the source; the code differs")


def test_another_compressor_is_told_from_another_content(image: SmallImage) -> None:
    record = image.inventory.layers[1]
    tar = zstandard.ZstdDecompressor().decompressobj().decompress(image.store.read(record.digest))
    blob = zstandard.ZstdCompressor(level=19).compress(tar)
    packed = replace(record, digest=image.store.add(blob), size=len(blob))
    layers = (image.inventory.layers[0], packed, image.inventory.layers[2])
    (finding,) = compared(image, keep(image.store, replace(image.inventory, layers=layers)))
    assert (finding.cause, finding.layer, finding.path) == ("compressor", "deb", "")


def test_a_tar_that_is_written_otherwise_is_told_from_its_content(image: SmallImage) -> None:
    def edit(members: list[Member]) -> list[Member]:
        members[-1][0].pax_headers = {"path": members[-1][0].name}
        return members

    (finding,) = compared(image, remake(image.store, image.digest, "deb", edit))
    assert (finding.cause, finding.layer) == ("tar", "deb")


def test_a_layer_that_only_one_image_has_is_one_finding(image: SmallImage) -> None:
    less = keep(image.store, replace(image.inventory, layers=image.inventory.layers[:-1]))
    (finding,) = compared(image, less)
    assert (finding.cause, finding.layer) == ("layer", "wheels") and "only the left image" in finding.detail


def test_layers_in_another_order_are_told(image: SmallImage) -> None:
    turned = keep(image.store, replace(image.inventory, layers=image.inventory.layers[::-1]))
    (finding,) = compared(image, turned)
    assert finding.cause == "order" and "stack the same layers" in finding.detail


def test_a_value_of_the_config_is_named(image: SmallImage) -> None:
    config = {**image.inventory.config, "created": "2027-01-01T00:00:00Z"}
    (finding,) = compared(image, keep(image.store, replace(image.inventory, config=config)))
    assert finding.cause == "config" and "config.created" in finding.detail and "2027" in finding.detail


def test_the_same_change_of_many_files_is_one_finding(image: SmallImage) -> None:
    def edit(members: list[Member]) -> list[Member]:
        for info, _ in members:
            info.mtime = 1_700_000_000
        return members

    (finding,) = compared(image, remake(image.store, image.digest, "wheels", edit))
    assert finding.cause == "time" and "other paths of the layer" in finding.detail


def test_an_unpacked_root_is_the_same_as_its_image(image: SmallImage, tmp_path: Path) -> None:
    root = image.unpack(tmp_path / "root")
    assert diff_image_and_root(ImageRef(image.store, image.digest), root).findings == ()


def test_what_was_changed_in_a_root_is_named(image: SmallImage, tmp_path: Path) -> None:
    root = image.unpack(tmp_path / "root")
    (root / PACKAGES / "shape.py").chmod(0o600)
    (root / PACKAGES / "names.txt").write_bytes(b"one\n2\nthree\n")
    (root / PACKAGES / "latest").unlink()
    (root / "etc/new").write_text("x")
    report = diff_image_and_root(ImageRef(image.store, image.digest), root)
    found = {(finding.cause, finding.layer, finding.artifact, finding.path) for finding in report.findings}
    assert found == {
        ("mode", "wheels", SHAPE, f"{PACKAGES}/shape.py"),
        ("content", "wheels", NAMES, f"{PACKAGES}/names.txt"),
        ("missing", "wheels", SHAPE, f"{PACKAGES}/latest"),
        ("added", "", "", "etc/new"),
    }


def compared(image: SmallImage, other: str) -> tuple[Finding, ...]:
    return diff_images(ImageRef(image.store, image.digest), ImageRef(image.store, other)).findings
