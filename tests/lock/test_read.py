"""Reading an environment and a lock: what is wrong is named, and nothing else changes the lock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.lock.conftest import TOML

from reprise.image.formats import DEFAULT_FORMAT
from reprise.lock.environment import read_environment
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN
from reprise.lock.read import read_lock
from reprise_trainer.errors import InputError, NotFoundError


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_an_environment_is_read(environment: Path) -> None:
    found = read_environment(environment)
    assert (found.name, found.python, found.debian.assume) == ("small", "3.11", ("dpkg",))
    assert found.pypi.requirements == ("alpha",)
    assert found.sources.find_links == ()


def test_folders_are_relative_to_the_environment_file(environment: Path) -> None:
    places = 'find_links = ["w", "http://h/w/"]\ndebian_mirror = "/archive"\ndirectories = ["../d"]\n'
    environment.write_text(TOML + "[sources]\n" + places)
    sources = read_environment(environment).sources
    assert sources.find_links == (str(environment.parent / "w"), "http://h/w/")
    assert sources.debian_mirror == "/archive"
    assert sources.directories == (str(environment.parent / "../d"),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "small"', 'name = "small', "not TOML"),
        ('name = "small"', 'name = "../small"', "name is '../small'"),
        ('name = "small"', "", "name is missing"),
        ('name = "small"', "name = 3", "name is 3, expected a text"),
        ('python = "3.11"', 'python = "3"', "python is '3'"),
        ('platform = "linux-64"', 'platform = "osx-64"', "only 'linux-64' is supported"),
        ("packages =", "package =", "debian.packages is missing"),
        ("assume =", "asume =", "debian.asume is not known.*did you mean: assume"),
        ('requirements = ["alpha"]', 'requirements = "alpha"', "expected a list of texts"),
        ("[debian]", "[debain]", "debian"),
        ('name = "small"', 'name = "small"\nsize = 1.5', "unknown kind"),
        ('name = "small"', 'name = "small"\nformat = 9', "names image format 9; this version of reprise writes 1, 2"),
    ],
)
def test_a_malformed_environment_is_named(environment: Path, old: str, new: str, message: str) -> None:
    assert old in TOML
    environment.write_text(TOML.replace(old, new))
    with pytest.raises(InputError, match=f"(?s){message}") as raised:
        read_environment(environment)
    assert str(environment) in raised.value.message


def test_a_missing_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.toml"):
        read_environment(tmp_path / "absent.toml")


def test_comments_and_sources_leave_the_lock_valid(committed: tuple[Path, Path]) -> None:
    folder, path = committed
    before = read_lock(folder, path)
    text = path.read_text()
    assert "find_links" in text
    path.write_text("# another comment\n" + text.replace("find_links = [", 'directories = ["d"]\nfind_links = ['))
    assert read_lock(folder, path) == before


def test_a_changed_requirement_makes_the_lock_stale(committed: tuple[Path, Path]) -> None:
    folder, path = committed
    path.write_text(path.read_text().replace('"numpy"', '"numpy>=2"'))
    with pytest.raises(InputError, match=r"does not match its environment file(?s:.)*reprise lock torch-cpu"):
        read_lock(folder, path)


@pytest.mark.parametrize("name", [CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN])
def test_every_byte_of_the_lock_is_in_its_digest(committed: tuple[Path, Path], name: str) -> None:
    folder, _ = committed
    before = read_lock(folder).digest
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    assert read_lock(folder).digest != before


@pytest.mark.parametrize("name", [CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN])
def test_a_missing_or_malformed_file_is_named(committed: tuple[Path, Path], name: str) -> None:
    folder, _ = committed
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "no JSON object"),
        ('{"format": 1, "version": 1}', "not a lock"),
    ):
        (folder / name).write_text(text)
        with pytest.raises(InputError, match=message):
            read_lock(folder)
    (folder / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        read_lock(folder)


def test_the_image_format_is_the_environment_s_and_then_the_lock_s(
    environment: Path, committed: tuple[Path, Path]
) -> None:
    folder, _ = committed
    assert (read_environment(environment).format, read_lock(folder).format) == (DEFAULT_FORMAT, 1)
    environment.write_text("format = 2\n" + TOML)
    edit(folder / CONDA_LOCK, lambda lock: lock["metadata"]["custom_metadata"].update(format="2"))
    assert (read_environment(environment).format, read_lock(folder).format) == (2, 2)


def test_a_lock_of_an_unknown_image_format_is_refused(committed: tuple[Path, Path]) -> None:
    folder, _ = committed
    edit(folder / CONDA_LOCK, lambda lock: lock["metadata"]["custom_metadata"].update(format="9"))
    with pytest.raises(InputError, match="torch-cpu names image format 9; this version of reprise writes 1, 2"):
        read_lock(folder)


def test_another_format_is_refused(committed: tuple[Path, Path]) -> None:
    folder, _ = committed
    edit(folder / DEBIAN_LOCK, lambda lock: lock.update(format=2))
    with pytest.raises(InputError, match="has format 2, this version reads format 1"):
        read_lock(folder)


@pytest.mark.parametrize("digest", [{}, {"md5": "0" * 32}, {"sha256": ""}, {"sha256": "0" * 63}, {"sha256": "G" * 64}])
def test_an_entry_without_sha256_is_refused(committed: tuple[Path, Path], digest: dict[str, str]) -> None:
    folder, _ = committed
    edit(folder / CONDA_LOCK, lambda lock: lock["package"][0].update(hash=digest))
    with pytest.raises(InputError, match=r"annotated-types.*has no sha256"):
        read_lock(folder)


def test_an_entry_that_is_an_address_is_refused(committed: tuple[Path, Path]) -> None:
    folder, _ = committed
    edit(folder / CONDA_LOCK, lambda lock: lock["package"][0].update(url="https://host.example/a-1-py3-none-any.whl"))
    with pytest.raises(InputError, match="is not a package URL"):
        read_lock(folder)


def test_reading_a_lock_imports_the_standard_library_alone(committed: tuple[Path, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from reprise.lock.read import read_lock\n"
        "read_lock(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    command = [sys.executable, "-S", "-c", code, *map(str, committed)]
    folders = [str(Path(sys.modules[name].__path__[0]).parent) for name in ("reprise", "reprise_trainer")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(folders)})
    assert set(answer.stdout.split()) == {"__main__", "reprise", "reprise_trainer"}
