"""Images that `reprise` did not build, and the roots of running processes."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_image import SmallImage
from tests.diff.conftest import PACKAGES

from reprise.diff import diff_image_and_root, diff_images
from reprise.engine.interface import ImageRef
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, NotFoundError

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CHROOT = "import os, sys, time; os.chroot(sys.argv[1]); os.chdir('/'); print('in', flush=True); time.sleep(60)"

BELOW = {"etc/a": b"a\n", "etc/b": b"b\n", "opt/x/one": b"1\n", "opt/x/two": b"2\n", "bin/tool": b"tool\n"}
ABOVE = {"etc/.wh.b": b"", "opt/x/.wh..wh..opq": b"", "opt/x/three": b"3\n"}


def foreign(
    store: Store, *layers: dict[str, bytes], level: int = 9, hard_link: bool = False, mtime: int = 1_700_000_000
) -> ImageRef:
    """An image of gzip layers without names, lists and inventory, as docker pushes them."""
    descriptors, diff_ids = [], []
    for number, files in enumerate(layers):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, data in files.items():
                info = tarfile.TarInfo(f"./{path}")
                info.size, info.mtime = len(data), mtime
                archive.addfile(info, io.BytesIO(data))
            if hard_link and number == 0:
                info = tarfile.TarInfo("./bin/tool2")
                info.type, info.linkname = tarfile.LNKTYPE, "./bin/tool"
                archive.addfile(info)
        blob = gzip.compress(buffer.getvalue(), level, mtime=0)
        descriptors.append({"mediaType": LAYER, "digest": store.add(blob), "size": len(blob)})
        diff_ids.append(sha256_digest(buffer.getvalue()))
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}, "os": "linux"}).encode()
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": store.add(config),
            "size": len(config),
        },
        "layers": descriptors,
    }
    return ImageRef(store, store.put_manifest(json.dumps(manifest).encode()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "foreign")


def test_an_image_by_another_builder_is_compared_by_its_tars(store: Store) -> None:
    report = diff_images(foreign(store, BELOW, ABOVE), foreign(store, {**BELOW, "etc/a": b"A\n"}, ABOVE))
    (finding,) = report.findings
    assert (finding.cause, finding.layer, finding.path) == ("content", "layer 1", "etc/a")
    assert {"-a", "+A"} <= set(finding.lines)


def test_layers_by_another_gzip_are_told_from_other_files(store: Store) -> None:
    report = diff_images(foreign(store, BELOW, ABOVE, level=9), foreign(store, BELOW, ABOVE, level=0))
    assert [(finding.cause, finding.layer) for finding in report.findings] == [
        ("compressor", "layer 1"),
        ("compressor", "layer 2"),
    ]


def test_a_hard_link_in_place_of_a_copy_is_an_attribute(store: Store) -> None:
    copy = {**BELOW, "bin/tool2": b"tool\n"}
    findings = diff_images(foreign(store, BELOW, hard_link=True), foreign(store, copy)).findings
    assert ("attributes", "bin/tool2") in [(finding.cause, finding.path) for finding in findings]
    assert "content" not in [finding.cause for finding in findings]


def test_what_an_upper_layer_removes_is_not_expected_in_a_root(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path, data in {"etc/a": b"a\n", "opt/x/three": b"3\n", "bin/tool": b"tool\n", "etc/b": b"b\n"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    report = diff_image_and_root(foreign(store, BELOW, ABOVE), root)
    files = [(finding.cause, finding.path) for finding in report.findings if (root / finding.path).is_file()]
    assert files == [("added", "etc/b")]


def test_names_that_no_terminal_should_get_are_escaped(store: Store) -> None:
    odd = {**BELOW, "etc/\udcff\x1b[31m": b"x\n"}
    (finding,) = diff_images(foreign(store, BELOW), foreign(store, odd)).findings
    assert (finding.cause, finding.path) == ("added", "etc/\\udcff\\x1b[31m")
    changed = foreign(store, {**BELOW, "etc/a": b"\x1b]0;a\x07\n"})
    (finding,) = diff_images(foreign(store, BELOW), changed).findings
    assert "+\\x1b]0;a\\x07" in finding.lines


def test_a_time_that_no_calendar_has_is_told(store: Store, tmp_path: Path) -> None:
    findings = diff_images(foreign(store, BELOW), foreign(store, BELOW, mtime=2**60)).findings
    assert {finding.cause for finding in findings} == {"time"} and f"{float(2**60)} seconds" in findings[0].detail


def test_a_damaged_layer_is_told(store: Store) -> None:
    image = foreign(store, BELOW)
    blob = store.path(store.manifest(image.digest)["layers"][0]["digest"])
    blob.write_bytes(gzip.compress(b"x" * 10_240))
    with pytest.raises(InputError, match="layer"):
        diff_images(image, foreign(store, ABOVE))


@contextmanager
def running_in(root: Path) -> Iterator[Path]:
    """A process whose root is `root`; gives the root as others see it."""
    with subprocess.Popen([sys.executable, "-c", CHROOT, root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        try:
            yield Path(f"/proc/{process.pid}/root")
        finally:
            process.kill()


def test_the_root_of_a_running_process_is_compared_but_not_what_is_mounted_there(
    image: SmallImage, tmp_path: Path
) -> None:
    root = image.unpack(tmp_path / "root")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "tmp"], check=True)
    try:
        (root / "tmp" / "scratch").write_text("x")
        with running_in(root) as seen:
            assert diff_image_and_root(ImageRef(image.store, image.digest), seen).same
            (root / PACKAGES / "names.txt").write_bytes(b"one\n")
            (finding,) = diff_image_and_root(ImageRef(image.store, image.digest), seen).findings
    finally:
        subprocess.run(["umount", root / "tmp"], check=True)
    assert (finding.cause, finding.path, finding.layer) == ("content", f"{PACKAGES}/names.txt", "wheels")


def test_a_root_that_is_not_there_is_told(image: SmallImage, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        diff_image_and_root(ImageRef(image.store, image.digest), tmp_path / "nowhere")


def test_a_folder_that_is_no_root_of_an_image_is_compared_in_no_time(tmp_path: Path) -> None:
    owned = {f"lib/own{number}": b"" for number in range(600)}
    others = {f"srv/{number}": b"" for number in range(600)}
    record = "".join(f"../{path},,\n" for path in owned).encode()
    second = {"opt/two/names": b"", "opt/two-2.dist-info/RECORD": b"two/names,,\n"}
    image = foreign(Store.open(tmp_path / "store"), {**owned, **others, "lib/x-1.dist-info/RECORD": record, **second})
    (tmp_path / "empty").mkdir()

    started = time.process_time()
    findings = {finding.path: finding for finding in diff_image_and_root(image, tmp_path / "empty").findings}
    assert time.process_time() - started < 5  # not the minutes of looking through all owners for each path
    assert findings["opt/two/names"].artifact == "pkg:pypi/two@2" and not findings["srv/7"].artifact
