from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from image_inputs import write_deb

from reprise.image.bootstrap import ImagePython, image_python, starts_python
from reprise_trainer.errors import InputError, StorageError


def files(artifacts: Sequence[tuple[Any, Path]]) -> list[tuple[str, Path]]:
    return [(each.sha256, path) for each, path in artifacts if each.kind != "deb" or starts_python(each.name)]


def test_it_is_debian_s_python_with_its_own_libraries_and_nothing_of_the_host(python: ImagePython) -> None:
    show = "import sys, hashlib, lzma, zlib; print(sys.version_info[:2], open('/proc/self/maps').read(), *sys.path)"
    done = subprocess.run([*python.argv, "-c", show], capture_output=True, text=True, check=True, env={})
    tree = str(python.packages.parent)
    assert done.stdout.startswith("(3, 11)")
    mapped = {line.split()[-1] for line in done.stdout.splitlines() if ".so" in line}
    assert len(mapped) > 5
    assert {path for path in mapped if not path.startswith(tree)} == set()
    assert all(path.startswith(tree) for path in done.stdout.splitlines()[-1].split())


def test_the_digest_follows_from_the_packages_and_not_from_their_order(
    debs: Sequence[tuple[Any, Path]], locked: Any, python: ImagePython
) -> None:
    (wheel,) = files(locked(lambda artifact: artifact.name == "zstandard"))
    tools = files(locked(lambda artifact: artifact.name == "isal"))
    cache = python.packages.parents[1]
    before = sorted(path.name for path in cache.iterdir())
    assert image_python(files(debs)[::-1], wheel, cache, tools) == python
    assert python.digest.removeprefix("sha256:") in before == sorted(path.name for path in cache.iterdir())


def test_a_package_that_is_damaged_leaves_nothing(tmp_path: Path, locked: Any) -> None:
    (wheel,) = files(locked(lambda artifact: artifact.name == "zstandard"))
    (tmp_path / "bad.deb").write_bytes(b"!<arch>\nnothing")
    with pytest.raises(InputError, match=r"bad\.deb is damaged"):
        image_python([("00", tmp_path / "bad.deb")], wheel, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_packages_without_an_interpreter_are_refused(tmp_path: Path, locked: Any) -> None:
    (wheel,) = files(locked(lambda artifact: artifact.name == "zstandard"))
    with pytest.raises(InputError, match="no dynamic linker"):
        image_python([("00", write_deb(tmp_path, []))], wheel, tmp_path / "cache")


def test_another_wheel_than_zstandard_s_is_refused(tmp_path: Path, locked: Any) -> None:
    (wheel,) = files(locked(lambda artifact: artifact.name == "numpy"))
    with pytest.raises(InputError, match="is not the wheel of zstandard"):
        image_python([("00", write_deb(tmp_path, []))], wheel, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_is_said_and_nothing_is_left(debs: Any, locked: Any, small_disk: Path) -> None:
    (wheel,) = files(locked(lambda artifact: artifact.name == "zstandard"))
    with pytest.raises(StorageError, match="cannot unpack the image's Python"):
        image_python(files(debs), wheel, small_disk)
    assert list(small_disk.iterdir()) == []


def test_the_builder_s_other_tools_are_unpacked_beside_and_count(python: ImagePython, debs: Any, locked: Any) -> None:
    (wheel,) = files(locked(lambda artifact: artifact.name == "zstandard"))
    without = image_python(files(debs), wheel, python.packages.parents[1])
    assert without.digest != python.digest
    show = "import reprise.image.zip_reader as z; print(z.deflate.__name__)"
    for each, inflater in ((python, "isal.isal_zlib"), (without, "zlib")):
        *start, code = each.command("reprise.image.builder")
        code = f"{code.partition('from reprise')[0]}{show}"
        done = subprocess.run([*start, code], capture_output=True, text=True, check=True, env={})
        assert done.stdout == f"{inflater}\n"
