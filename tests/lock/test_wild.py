"""Conda-lock files as others write them: every entry is used, or refused by a message that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conda_lock.lockfile import parse_conda_lock_file, write_conda_lock_file
from conda_lock.lockfile.v2prelim.models import HashModel, LockedDependency, Lockfile, LockMeta
from tests.lock.conftest import Workshop
from tests.support.conda_channel import Channel
from tests.support.loopback import Site, serve
from tests.support.wheels import write_wheel

from reprise.lock.by_md5 import fetch_by_md5
from reprise.lock.check import check_lock
from reprise.lock.model import CONDA_LOCK, LAYER_PLAN
from reprise.lock.pip_client import pip_configuration
from reprise.lock.target import Target
from reprise.lock.virtual import as_records
from reprise.lock.wild import WildLock, read_wild_lock
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError, UnavailableError

WILD = Path(__file__).with_name("wild")
TARGET = Target("3.11", (2, 36))
VIRTUAL = tuple(as_records((("__glibc", "2.36"), ("__linux", "0"), ("__unix", "0"))))


def read(name: str, *categories: str) -> WildLock:
    return read_wild_lock(WILD / name, TARGET, VIRTUAL, categories)


def names(lock: WildLock) -> tuple[list[str], list[str]]:
    return [each.name for each in lock.packages], [each.artifact.name for each in lock.wheels]


def test_a_file_of_conda_locks_own_writer_is_taken_for_one_platform_and_category() -> None:
    conda = ["_libgcc_mutex", "bzip2", "libgcc", "python", "python_abi", "tzdata"]
    assert names(read("conda-lock-4.yml")) == (conda, ["attrs", "pydantic-core"])


def test_more_categories_are_taken_where_the_environment_says_so() -> None:
    found = names(read("conda-lock-4.yml", "dev"))
    assert "iniconfig" in found[0] and "mypy-extensions" in found[1]
    with pytest.raises(InputError, match="no category docs"):
        read("conda-lock-4.yml", "docs")


def test_a_pip_entry_becomes_a_package_url_without_a_host() -> None:
    wheel = next(each for each in read("conda-lock-4.yml").wheels if each.artifact.name == "pydantic-core")
    assert wheel.artifact.purl == (
        "pkg:pypi/pydantic-core@2.33.2?file_name="
        "pydantic_core-2.33.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    )
    assert wheel.dependencies == {"attrs": ""}, "what the file lacks may be another platform's"


def test_a_file_converted_from_pixi_is_taken() -> None:
    found = read("pixi.yml")
    assert names(found) == (["ca-certificates", "libzlib"], ["colorama", "tqdm"])
    assert found.packages[1].depends == ("__glibc >=2.17,<3.0.a0",)


def test_entries_known_by_md5_alone_are_named() -> None:
    with pytest.raises(InputError) as raised:
        read("conda-lock-1-md5.yml")
    for name in ("ca-certificates 2022.9.24 (conda)", "tzdata 2022e (conda)"):
        assert f"{name} has an md5 and no sha256; --accept-md5" in raised.value.message
    assert "six" not in raised.value.message


@pytest.mark.parametrize(
    "problem",
    [
        "cudatoolkit 11.8.0 (conda) is for win-64, the image for linux-64",
        "openssl 3.5.4 (conda) has the address of another package",
        "strange 1.0 (conda) has the address https://conda.anaconda.org/strange.zip",
        "mylib 0.3.0 (pip) comes from git+https://git.example/mylib.git",
        "antlr4-python3-runtime 4.9.3 (pip) is a source distribution",
        "nohash 1.0 (pip) has no hash at all",
        "oldpy 1.0 (pip) does not fit the image",
        "renamed 2.0 (pip) has the file name of renamed 1.9",
        "short 1.0 (pip) has the sha256 '5d0fd4bfc29b1dbb4c7b2c5b6fd9fd2c8ea0bb31'",
        "local 1.0 (pip) comes from ./local-1.0-py3-none-any.whl",
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_the_reason(problem: str) -> None:
    with pytest.raises(InputError) as raised:
        read("refused.yml")
    assert problem in raised.value.message
    assert "10 entries that cannot be used" in raised.value.message
    assert "libzlib" not in raised.value.message and "direct" not in raised.value.message


def edited(tmp_path: Path, name: str, old: str, new: str) -> WildLock:
    text = (WILD / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    return read_wild_lock(tmp_path / name, TARGET, VIRTUAL)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1\n", "version: 6\n", "format 1.*unknown version 6"),
        ("version: 1\n", "", "format 1.*missing a version"),
        ("package:\n", "package: [\n", "is no conda-lock file"),
        ("    md5: ", "    sha1: ", r"entry 0 \(_libgcc_mutex\) hash"),
        ("  manager: conda\n", "  manager: npm\n", r"entry 0 \(_libgcc_mutex\) manager"),
        ("linux-64", "linux-aarch64", "has no entries for linux-64, only for linux-aarch64, osx-arm64"),
        (">=2.17,<3.0.a0", ">=2.40", r"bzip2 \(conda\) needs __glibc >=2\.40, the file has __glibc"),
        ("    libgcc: '>=14'", "    libgcc: '>=16'", r"bzip2 \(conda\) needs libgcc >=16, the file has libgcc"),
        ("    libgcc: '>=14'", "    libgone: '>=14'", "needs libgone >=14, which neither the file nor"),
        ("optional: true", "optional: perhaps", r"entry \d+ \(iniconfig\) optional"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"conda-lock-4\.yml(?s:.)*{message}"):
        edited(tmp_path, "conda-lock-4.yml", old, new)


def test_an_entry_that_is_there_twice_is_named(tmp_path: Path) -> None:
    entry = "- name: tqdm" + (WILD / "pixi.yml").read_text().partition("- name: tqdm")[2]
    with pytest.raises(InputError, match=r"entries twice: tqdm \(pip, linux-64\)"):
        edited(tmp_path, "pixi.yml", entry, entry + entry)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.yml"):
        read_wild_lock(tmp_path / "absent.yml", TARGET, VIRTUAL)


def entry(channel: Channel, address: str, name: str, *, sha256: bool = True, version: str = "") -> LockedDependency:
    package = channel.package(name, version)
    return LockedDependency(
        name=name,
        version=package.version,
        manager="conda",
        platform="linux-64",
        dependencies={each.partition(" ")[0]: each.partition(" ")[2] for each in package.depends},
        url=package.url(address),
        hash=HashModel(md5=package.md5, sha256=package.sha256 if sha256 else None),
        categories={"main"},
    )


def pip_entry(path: Path, url: str) -> LockedDependency:
    name, version = path.name.split("-")[:2]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LockedDependency(
        name=name,
        version=version,
        manager="pip",
        platform="linux-64",
        url=url,
        hash=HashModel(sha256=sha256),
        categories={"main"},
    )


def write(path: Path, packages: list[LockedDependency]) -> None:
    metadata = LockMeta(content_hash={"linux-64": "0" * 64}, channels=[], platforms=["linux-64"], sources=["env.yml"])
    write_conda_lock_file(Lockfile(package=packages, metadata=metadata), path, metadata_choices=set())


Foreign = Callable[..., None]


@pytest.fixture
def foreign(workshop: Workshop, made_channel: Channel, channel: str, tmp_path: Path) -> Foreign:
    """Write a lock of others' with numpy and what it needs, and whatever else is given, and name it in the TOML."""

    def write_it(*more: LockedDependency, sha256: bool = True, requirements: str = "[]") -> None:
        versions = {"python": "3.11.9", "libblas": "1.1", "numpy": "2.1.0"}
        found = [entry(made_channel, channel, each, sha256=sha256, version=versions[each]) for each in versions]
        write(tmp_path / "conda-lock.yml", [*found, *more])
        workshop.write('lock = "conda-lock.yml"', requirements)

    return write_it


def test_an_unmodified_file_becomes_a_lock_of_our_own(
    workshop: Workshop, foreign: Foreign, offline_pip: Path, channel: str, tmp_path: Path
) -> None:
    # The host that the machine's own index has, put in here: an index's name may not stand in a lock.
    host = urlsplit(pip_configuration_of_the_machine()).netloc or "index.example"
    path = write_wheel(offline_pip, "beta")
    foreign(pip_entry(path, f"https://{host}/packages/ab/cd/{path.name}"))
    lock = workshop.lock().lock
    assert {each.name: each.version for each in lock.artifacts if each.kind in ("conda", "wheel")} == {
        "beta": "1.0", "libblas": "1.1", "numpy": "2.1.0", "python": "3.11.9"
    }  # fmt: skip
    assert lock.conda is not None and lock.conda.site_packages == "lib/python3.11/site-packages"
    assert host not in "".join(each.read_text() for each in workshop.folder.iterdir())
    assert check_lock(workshop.folder, workshop.file, Store.open(tmp_path / "store")) == []
    theirs = parse_conda_lock_file(workshop.folder / CONDA_LOCK)
    assert {each.name for each in theirs.package} == {"beta", "libblas", "numpy", "python"}
    assert set(theirs.metadata.inputs_metadata or {}) == {"conda-lock.yml"}


def pip_configuration_of_the_machine() -> str:
    import os

    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PIP_")}
    try:
        return next(iter(pip_configuration().indexes), "")
    finally:
        os.environ.update(kept)


def test_a_changed_file_makes_the_lock_stale(workshop: Workshop, foreign: Foreign, tmp_path: Path) -> None:
    foreign()
    workshop.lock()
    file = tmp_path / "conda-lock.yml"
    file.write_text(file.read_text() + "# another\n")
    (problem,) = check_lock(workshop.folder, workshop.file, Store.open(tmp_path / "store"))
    assert "does not match conda-lock.yml" in problem.what


def test_md5_only_entries_are_fetched_and_their_sha256_recorded_when_accepted(
    workshop: Workshop, foreign: Foreign, made_channel: Channel
) -> None:
    foreign(sha256=False)
    with pytest.raises(InputError, match=r"numpy.*--accept-md5"):
        workshop.propose()
    lock = workshop.lock(accept_md5=True).lock
    assert {each.name: each.sha256 for each in lock.artifacts if each.kind == "conda"} == {
        name: made_channel.package(name, version).sha256
        for name, version in (("libblas", "1.1"), ("numpy", "2.1.0"), ("python", "3.11.9"))
    }


def test_a_file_with_another_md5_is_refused(tmp_path: Path) -> None:
    with serve(Site(files={"/x.conda": b"other"})) as site:
        with pytest.raises(InputError, match=f"expected md5 {'0' * 32}, received {hashlib.md5(b'other').hexdigest()}"):
            fetch_by_md5("conda", site.url("/x.conda"), "0" * 32)
        with pytest.raises(UnavailableError, match=r"y\.conda.*404"):
            fetch_by_md5("conda", site.url("/y.conda"), "0" * 32)


def test_what_was_fetched_by_md5_is_kept(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with serve(Site(files={"/x.conda": b"bytes"})) as site:
        sha256, size = fetch_by_md5("conda", site.url("/x.conda"), hashlib.md5(b"bytes").hexdigest(), store)
    assert (store.read(f"sha256:{sha256}"), size) == (b"bytes", 5)
    assert list((store.root / "partial").iterdir()) == []


def test_requirements_of_the_environment_come_beside_the_files_wheels(
    workshop: Workshop, foreign: Foreign, offline_pip: Path, tmp_path: Path
) -> None:
    write_wheel(offline_pip, "alpha", requires=["beta", "numpy"])
    locked = write_wheel(offline_pip, "beta")
    write_wheel(offline_pip, "beta", "2.0")
    foreign(pip_entry(locked, f"https://wheels.example/{locked.name}"), requirements='["alpha"]')
    lock = workshop.lock().lock
    assert {each.name: each.version for each in lock.artifacts if each.kind == "wheel"} == {
        "alpha": "1.0", "beta": "1.0"
    }  # fmt: skip
    assert check_lock(workshop.folder, workshop.file, Store.open(tmp_path / "store")) == []


def test_another_python_than_the_environments_is_refused(
    workshop: Workshop, made_channel: Channel, channel: str, tmp_path: Path
) -> None:
    write(tmp_path / "conda-lock.yml", [entry(made_channel, channel, "python", version="3.12.4")])
    workshop.write('lock = "conda-lock.yml"')
    with pytest.raises(InputError, match=r'python 3\.12\.4, the environment 3\.11\nWrite python = "3\.12"'):
        workshop.propose()


def test_a_wheel_whose_size_nobody_tells_is_named(workshop: Workshop, foreign: Foreign, tmp_path: Path) -> None:
    path = write_wheel(tmp_path, "beta")
    foreign(pip_entry(path, f"http://127.0.0.1:9/{path.name}"))
    with pytest.raises(UnavailableError, match="beta-1"):
        workshop.propose()


def test_the_order_of_the_entries_changes_nothing(workshop: Workshop, foreign: Foreign, tmp_path: Path) -> None:
    foreign()
    before = workshop.propose().files
    file = tmp_path / "conda-lock.yml"
    head, *entries = file.read_text().split("- name: ")
    file.write_text("- name: ".join([head, *reversed(entries)]))
    after = workshop.propose().files
    assert after[LAYER_PLAN] == before[LAYER_PLAN]
    assert json.loads(after[CONDA_LOCK])["package"] == json.loads(before[CONDA_LOCK])["package"]


def test_what_the_file_says_is_not_updated_here(workshop: Workshop, foreign: Foreign) -> None:
    foreign()
    workshop.lock()
    with pytest.raises(InputError, match=r"numpy is as .*conda-lock\.yml says"):
        workshop.propose("numpy")
    assert workshop.propose("libc6").changes == ()
