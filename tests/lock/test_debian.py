"""The Debian part: apt's resolver in a private root, on an archive on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.support.debian_archive import CREATED, Package, write_archive

from reprise.lock.debian import DebianSolution, solve
from reprise.lock.model import DebianPart
from reprise_trainer.errors import InputError, UnavailableError

UNSIGNED = "trusted=yes"
PACKAGES = [
    Package("python", "3.11.2-6", depends="libc, dpkg (>= 1.15) | installer, libzip (>= 1:1.0)"),
    Package("libc", "2.36-9+deb12u14", depends="libgcc"),
    Package("libgcc", "12.2~rc1"),
    Package("libzip", "1:1.2", architecture="all"),
    Package("dpkg", "1.21", depends="tar"),
    Package("tar"),
    Package("base-files", depends="awk"),
    Package("mawk", provides="awk"),
    Package("unrelated"),
]


@pytest.fixture
def archive(tmp_path: Path) -> str:
    return write_archive(tmp_path / "archive", PACKAGES)


def solved(archive: str, *packages: str, assume: tuple[str, ...] = ()) -> DebianSolution:
    return solve(DebianPart("bookworm", packages, assume), archive, UNSIGNED)


def names(solution: DebianSolution) -> list[str]:
    return [each.name for each in solution.packages]


def test_packages_come_with_all_that_they_depend_on(archive: str) -> None:
    assert names(solved(archive, "python")) == ["dpkg", "libc", "libgcc", "libzip", "python", "tar"]


def test_what_is_assumed_is_left_out_with_its_dependencies(archive: str) -> None:
    assert names(solved(archive, "python", assume=("dpkg",))) == ["libc", "libgcc", "libzip", "python"]


def test_an_assumed_package_gives_what_it_provides(archive: str) -> None:
    assert names(solved(archive, "base-files", assume=("mawk",))) == ["base-files"]


def test_an_entry_has_purl_hash_size_and_pool_path(archive: str) -> None:
    package = next(each for each in PACKAGES if each.name == "libzip")
    entry = next(each for each in solved(archive, "libzip").packages)
    assert entry.purl == "pkg:deb/debian/libzip@1:1.2?arch=all&distro=bookworm"
    assert entry.sha256 == hashlib.sha256(package.data).hexdigest()
    assert (entry.location, entry.size) == ("pool/main/l/libzip/libzip_1.2_all.deb", len(package.data))


def test_time_is_the_suites_release_date(archive: str) -> None:
    assert solved(archive, "libc").created == CREATED


def test_the_machines_installed_packages_do_not_count(archive: str) -> None:
    assert "libc" in names(solved(archive, "libc"))
    assert names(solved(archive, "base-files")) == ["base-files", "mawk"]


@pytest.mark.parametrize("assume", [(), ("absent",)])
def test_an_unknown_package_is_named(archive: str, assume: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="absent"):
        solved(archive, *(() if assume else ("absent",)), "libc", assume=assume)


def test_an_archive_that_no_known_key_signs_is_refused(archive: str) -> None:
    with pytest.raises(UnavailableError, match="not signed"):
        solve(DebianPart("bookworm", ("libc",)), archive)


def test_a_silent_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot read the suite bookworm"):
        solve(DebianPart("bookworm", ("libc",)), (tmp_path / "absent").as_uri(), UNSIGNED)
