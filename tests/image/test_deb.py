from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest
from image_inputs import member, write_deb

from reprise.image.deb import read_deb
from reprise.image.entries import Entry
from reprise_trainer.errors import InputError


def read(path: Path) -> dict[str, Entry]:
    entries = read_deb(path, "pkg:deb/small")
    found = {entry.path: entry for entry in entries}
    assert len(found) == len(entries)
    return found


@pytest.mark.parametrize("suffix", ["xz", "zst", "gz"])
def test_files_keep_their_bytes_and_permission_bits(tmp_path: Path, suffix: str) -> None:
    members = [
        member("usr"),
        member("usr/bin"),
        member("usr/bin/a", b"program", mode=0o755),
        member("etc/b", b"conf", mode=0o640),
    ]
    entries = read(write_deb(tmp_path, members, suffix=suffix))
    assert (entries["usr/bin/a"].read(), entries["usr/bin/a"].mode) == (b"program", 0o755)
    assert (entries["etc/b"].read(), entries["etc/b"].mode) == (b"conf", 0o640)


def test_paths_are_those_of_a_merged_usr_and_of_run(tmp_path: Path) -> None:
    members = [
        member(name, b"x") for name in ("bin/a", "sbin/b", "lib/c", "lib64/d", "libexec/e", "var/run/f", "var/runs")
    ]
    entries = read(write_deb(tmp_path, [member("lib"), member("var/lock"), *members]))
    paths = {path for path in entries if "status.d" not in path}
    merged = {"usr/bin/a", "usr/sbin/b", "usr/lib/c", "usr/lib64/d", "libexec/e", "run/f", "var/runs"}
    assert paths == {*merged, "usr/lib", "run/lock"}


def test_set_id_bits_and_folder_modes_of_a_package_do_not_count(tmp_path: Path) -> None:
    members = [member("usr/bin/su", b"", mode=0o4755), member("var/local", mode=0o2775), member("tmp", mode=0o700)]
    entries = read(write_deb(tmp_path, members))
    assert [entries[path].mode for path in ("usr/bin/su", "var/local", "tmp")] == [0o755, 0o755, 0o1777]


def test_hard_links_become_files_and_symbolic_links_stay(tmp_path: Path) -> None:
    members = [
        member("lib/a", b"bytes", mode=0o755),
        member("usr/b", kind=tarfile.LNKTYPE, target="./lib/a"),
        member("usr/c", kind=tarfile.SYMTYPE, target="/lib/a", mode=0o777),
    ]
    entries = read(write_deb(tmp_path, members))
    assert (entries["usr/b"].type, entries["usr/b"].read(), entries["usr/b"].mode) == ("file", b"bytes", 0o755)
    assert (entries["usr/c"].type, entries["usr/c"].target) == ("symlink", "/lib/a")


def test_documentation_is_dropped_and_copyright_kept(tmp_path: Path) -> None:
    members = [
        member("usr/share/doc/small"),
        member("usr/share/doc/small/copyright", b"terms"),
        member("usr/share/doc/small/changelog.gz", b"x"),
        member("usr/share/doc/other", kind=tarfile.SYMTYPE, target="small"),
        member("usr/share/man/man1/a.1.gz", b"x"),
        member("usr/share/locale/de/a.mo", b"x"),
        member("usr/share/lintian/overrides/small", b"x"),
        member("usr/share/info/a", b"x"),
        member("usr/share/documents/a", b"x"),
    ]
    paths = {path for path in read(write_deb(tmp_path, members)) if path.startswith("usr/")}
    assert paths == {"usr/share/doc/small/copyright", "usr/share/doc/other", "usr/share/documents/a"}


def test_status_d_says_what_is_installed(tmp_path: Path) -> None:
    entries = read(write_deb(tmp_path, []))
    assert entries["var/lib/dpkg/status.d/small"].read().startswith(b"Package: small\nVersion: 1\n")
    assert entries["var/lib/dpkg/status.d/small.md5sums"].read() == b"00  a\n"


def test_real_packages_give_the_files_that_dpkg_unpacks(debs: list[tuple[object, Path]], tmp_path: Path) -> None:
    for artifact, path in debs:
        if artifact.name in ("libc6", "libpython3.11-stdlib", "base-files"):  # type: ignore[attr-defined]
            root = tmp_path / artifact.name  # type: ignore[attr-defined]
            subprocess.run(["dpkg-deb", "-x", path, root], check=True)
            for entry in read_deb(path, "p"):
                below = entry.path.removeprefix("usr/")
                found = [each for each in {root / entry.path, root / below} if each.is_symlink() or each.exists()]
                if "status.d" in entry.path or entry.type == "directory":
                    continue
                (real,) = found
                if entry.type == "symlink":
                    assert str(real.readlink()) == entry.target
                else:
                    assert real.read_bytes() == entry.read(), entry.path
                    assert real.stat().st_mode & 0o777 == entry.mode, entry.path


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../evil", b""), "not a plain path"),
        (member("a", kind=tarfile.CHRTYPE), "a device"),
        (member("a", kind=tarfile.FIFOTYPE), "a pipe"),
        (member("a", kind=tarfile.LNKTYPE, target="./gone"), "hard link to"),
        (member("a", kind=tarfile.LNKTYPE, target="../../gone"), "not a plain path"),
        (member("\udcff", b""), "not UTF-8"),
    ],
)
def test_what_an_image_cannot_hold_is_named(tmp_path: Path, bad: tarfile.TarInfo, said: str) -> None:
    with pytest.raises(InputError, match="pkg:deb/small") as caught:
        read(write_deb(tmp_path, [bad]))
    assert said in caught.value.message


@pytest.mark.parametrize("cut", [0, 4, 30, 100, 300, -30])
def test_a_truncated_package_is_named(tmp_path: Path, cut: int) -> None:
    path = write_deb(tmp_path, [member("a", bytes(range(256)) * 9)])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"pkg:deb/small is (damaged|not a Debian package)"):
        read(path)


@pytest.mark.parametrize("suffix", ["xz", "zst", "gz"])
def test_a_damaged_stream_is_named(tmp_path: Path, suffix: str) -> None:
    path = write_deb(tmp_path, [member("a", bytes(range(256)) * 40)], suffix=suffix)
    data = bytearray(path.read_bytes())
    at = data.index(b"data.tar") + 60
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(InputError, match="pkg:deb/small is damaged"):
        read(path)


@pytest.mark.parametrize("control", [b"", b"Version: 1\n", b"Package: ../evil\n", b"Package: UPPER\n"])
def test_a_package_without_a_proper_name_is_refused(tmp_path: Path, control: bytes) -> None:
    with pytest.raises(InputError, match="names no package"):
        read(write_deb(tmp_path, [], control=control))
