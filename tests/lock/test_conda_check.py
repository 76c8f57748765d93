"""The strict check of a lock's conda part, by sabotage of a lock of real packages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conda_channel import Channel, index_channel
from conda_image import CHANNEL_URL, PYTHON, conda_lock
from conda_package import PLACEHOLDER, Package, PackageFile, write_package

from reprise.lock.check import check_lock
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN, Allowed, Lock
from reprise.store import Store

from .conftest import TOML

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def odd_channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    """Packages that no good channel has."""
    folder = tmp_path_factory.mktemp("odd") / "channel"
    for subdir in ("linux-64", "noarch"):
        (folder / subdir).mkdir(parents=True)
    for package in (
        Package("leftover", files={"share/left.txt": PackageFile(f"at {PLACEHOLDER}\n".encode())}),
        Package("clever", files={"etc/conda/activate.d/clever.sh": PackageFile(b"export A=$(date)\n")}),
    ):
        write_package(folder, package)
    return index_channel(folder)


def write_lock(folder: Path, lock: Lock, edit: Edit = lambda document: None) -> tuple[Path, Path]:
    """A lock's folder and its environment file; `edit` changes conda-lock.yml."""
    assert lock.conda is not None
    locked = folder / "locks" / "small"
    locked.mkdir(parents=True)
    environment = folder / "small.toml"
    environment.write_text(TOML)
    from reprise.lock.environment import read_environment

    allowed = {"post_link": list(lock.conda.allowed.post_link), "clobbers": dict(lock.conda.allowed.clobbers)}
    custom = {"environment": "small", "python": "3.11", "prefix": lock.conda.prefix, "allow": json.dumps(allowed)}
    custom["site_packages"] = lock.conda.site_packages
    document = {
        "version": 1,
        "metadata": {
            "content_hash": {"linux-64": read_environment(environment).content_sha256},
            "platforms": ["linux-64"],
            "custom_metadata": custom,
        },
        "package": [
            {
                "name": each.name,
                "version": each.version,
                "manager": "conda" if each.kind == "conda" else "pip",
                "platform": "linux-64",
                "dependencies": {},
                "url": each.location or each.purl,
                "hash": {"sha256": each.sha256, "md5": "0" * 32},
                "category": each.category,
            }
            for each in lock.artifacts
            if each.kind in ("conda", "wheel")
        ],
    }
    edit(document)
    debs = [
        {"purl": each.purl, "sha256": each.sha256, "size": each.size, "path": each.location}
        for each in lock.artifacts
        if each.kind == "deb"
    ]
    layers = [{"name": each.name, "artifacts": list(each.artifacts)} for each in lock.layers]
    (locked / CONDA_LOCK).write_text(json.dumps(document))
    (locked / DEBIAN_LOCK).write_text(
        json.dumps({"format": 1, "suite": "bookworm", "created": lock.created, "packages": debs})
    )
    (locked / LAYER_PLAN).write_text(json.dumps({"format": 1, "layers": layers}))
    return locked, environment


def problems(folder: Path, lock: Lock, store: Store, edit: Edit = lambda document: None) -> list[str]:
    return [str(each) for each in check_lock(*write_lock(folder, lock, edit), store)]


WHOLE = (*PYTHON, "numpy", "settings", "where", "old", "small-000")


def test_a_lock_of_real_conda_packages_has_no_problem(conda_channel: Channel, store: Store, tmp_path: Path) -> None:
    names: Sequence[Any] = (*WHOLE, conda_channel.package("hello", "2.0"))
    assert problems(tmp_path, conda_lock(conda_channel, names, store), store) == []


def test_a_conda_part_on_debian_s_python_has_none_either(conda_channel: Channel, store: Store, tmp_path: Path) -> None:
    assert problems(tmp_path, conda_lock(conda_channel, ["where"], store), store) == []


@pytest.mark.parametrize(
    ("allowed", "found"),
    [
        (Allowed(), [r"pkg:conda/scripted@1\.0.*: bin/\.scripted-post-link\.sh would run at installation"]),
        (Allowed(post_link=("scripted",)), []),
        (Allowed(post_link=("scripted", "absent")), [r"allow\.post_link 'absent': names no conda package"]),
    ],
)
def test_a_link_script_is_refused_with_its_package_unless_allowed(
    conda_channel: Channel, store: Store, tmp_path: Path, allowed: Allowed, found: list[str]
) -> None:
    lock = conda_lock(conda_channel, ["scripted"], store, allowed=allowed)
    said = problems(tmp_path, lock, store)
    assert len(said) == len(found)
    assert all(re.search(pattern, each) for pattern, each in zip(found, said, strict=True)), said


def test_an_activation_script_that_does_more_is_refused_with_its_package(
    odd_channel: Channel, store: Store, tmp_path: Path
) -> None:
    (said,) = problems(tmp_path, conda_lock(odd_channel, ["clever"], store), store)
    assert re.match(r"pkg:conda/clever@1\.0\S*: etc/conda/activate\.d/clever\.sh does more than set", said)


@pytest.mark.parametrize(
    ("clobbers", "found"),
    [
        ((), r"/opt/conda/share/clash\.txt: is owned .* by pkg:conda/clash-one@\S+ and by pkg:conda/clash-two@"),
        ((("share/clash.txt", "clash-two"),), ""),
        ((("share/clash.txt", "absent"),), "names 'absent', which is no conda package"),
        ((("share/one.txt", "clash-two"),), "says that clash-two wins, which has no such file"),
    ],
)
def test_a_clobber_is_refused_with_both_packages_unless_one_wins(
    conda_channel: Channel, store: Store, tmp_path: Path, clobbers: tuple[tuple[str, str], ...], found: str
) -> None:
    lock = conda_lock(conda_channel, ["clash-one", "clash-two"], store, allowed=Allowed(clobbers=clobbers))
    said = problems(tmp_path, lock, store)
    assert any(re.search(found, each) for each in said) if found else said == [], said


def test_a_prefix_that_is_too_long_and_one_that_is_left_over_are_said(
    conda_channel: Channel, odd_channel: Channel, store: Store, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    long = conda_lock(conda_channel, ["where"], store, prefix="/" + "p" * 300)
    (said,) = problems(tmp_path / "a", long, store)
    assert "pkg:conda/where@1.0" in said and "bin/where was built for a prefix of at most 255" in said
    (said,) = problems(tmp_path / "b", conda_lock(odd_channel, ["leftover"], store), store)
    assert re.match(r"pkg:conda/leftover@\S+: still has the prefix .* /opt/conda/share/left\.txt", said)


def entry(name: str, **changes: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        next(each for each in document["package"] if each["name"] == name).update(changes)

    return edit


def custom(**changes: str) -> Edit:
    return lambda document: document["metadata"]["custom_metadata"].update(changes)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (entry("where", hash={"md5": "0" * 32}), "where.*has no sha256"),
        (entry("where", url=f"{CHANNEL_URL}/osx-64/where-1.0-0.conda"), "is for 'osx-64', the image for linux-64"),
        (entry("where", url=f"{CHANNEL_URL}/linux-64/where-2.0-0.conda"), r"is where 1\.0 0 by its own index"),
        (entry("where", dependencies={"absent": ">=1", "__glibc": ">=2.17", "libffi": ""}), "depends on absent"),
        (entry("python", url=f"{CHANNEL_URL}/linux-64/python-3.12.1-0.conda"), r"is Python 3\.12\.1"),
        (custom(site_packages="lib/python3.11/site-packages"), "looks for packages in lib/python3.11/dist-packages"),
        (custom(site_packages=""), "conda package python: is there, and no site-packages"),
        (custom(prefix="/run/conda"), "prefix /run/conda: is no place"),
        (custom(prefix="/lib/conda"), "prefix /lib/conda: is no place"),
        (lambda d: d["metadata"]["custom_metadata"].pop("prefix"), "does not say where its environment lies"),
        (entry("where", url="nonsense"), "is not the address of a conda package"),
    ],
)
def test_what_is_wrong_is_named(conda_channel: Channel, store: Store, tmp_path: Path, edit: Edit, said: str) -> None:
    lock = conda_lock(conda_channel, (*PYTHON, "where"), store)
    found = problems(tmp_path, lock, store, edit)
    assert any(re.search(said, each) for each in found), found


def test_a_conda_python_needs_the_c_library(conda_channel: Channel, store: Store, tmp_path: Path) -> None:
    lock = conda_lock(conda_channel, PYTHON, store)
    artifacts = tuple(each for each in lock.artifacts if each.name != "libc6")
    found = problems(tmp_path, replace(lock, artifacts=artifacts), store)
    assert any("has no package libc6, the C library that conda's packages expect" in each for each in found), found
