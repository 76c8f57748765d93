"""Ages of Debian packages, by apt on an archive of our own."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from debian_archive import Package, write_archive

from reprise.lock.model import Artifact
from reprise.outdated.debian import debian_ages
from reprise.store import Store

MADE = 1_600_000_000


def deb(name: str, version: str, data: bytes = b"") -> Artifact:
    purl = f"pkg:deb/debian/{name}@{version}?arch=amd64&distro=bookworm"
    return Artifact(purl, hashlib.sha256(data).hexdigest(), location=f"pool/main/s/small/{name}_{version}_amd64.deb")


def ages(tmp_path: Path, *artifacts: Artifact, store: Store | None = None) -> tuple[list[str], list[str]]:
    mirror = write_archive(tmp_path / "archive", [Package("same", "1.0-1"), Package("moved", "1.0-1+deb12u2")])
    found, silent = debian_ages(artifacts, "bookworm", mirror, "trusted=yes", store)
    return [each.newest for each in found], silent


def test_newer_is_what_the_suite_has_by_debians_order(tmp_path: Path) -> None:
    locked = (deb("same", "1.0-1"), deb("moved", "1.0-1+deb12u1"), deb("gone", "1.0"))
    assert ages(tmp_path, *locked) == (["1.0-1", "1.0-1+deb12u2", ""], [])


def test_a_suite_that_went_back_has_nothing_newer(tmp_path: Path) -> None:
    assert ages(tmp_path, deb("same", "1.0-2")) == (["1.0-2"], [])


def test_the_day_is_the_one_that_the_builder_wrote(tmp_path: Path) -> None:
    data = b"!<arch>\n" + f"{'debian-binary':<16}{MADE:<12}{0:<6}{0:<6}{'100644':<8}{4:<10}`\n".encode() + b"2.0\n"
    store = Store.open(tmp_path / "store")
    store.add(data)
    known, unknown = deb("same", "1.0-1", data), deb("moved", "1.0", b"not here")
    found, _ = debian_ages([known, unknown], "bookworm", f"file://{tmp_path}/none", "", store)
    assert [each.released for each in found] == [datetime.fromtimestamp(MADE, UTC), None]


def test_a_silent_mirror_is_said_and_ages_are_still_told(tmp_path: Path) -> None:
    found, silent = debian_ages([deb("same", "1.0-1")], "bookworm", "http://127.0.0.1:9/debian", "trusted=yes", None)
    assert [each.newest for each in found] == [""] and len(silent) == 1 and "bookworm" in silent[0]
