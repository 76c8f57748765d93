"""Packages, their licences and what they depend on, from the real artifacts of torch-cpu and from made ones."""

from __future__ import annotations

import bz2
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from reprise.bom.contents import read_packages
from reprise.bom.licences import Licences
from reprise.bom.metadata import conda_metadata, wheel_metadata
from reprise.lock.model import Artifact, Lock, PlannedLayer
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError


def names(purls: tuple[str, ...]) -> set[str]:
    return {Artifact(purl, "").name for purl in purls}


def test_what_only_the_builder_uses_is_not_in_the_image(torch_contents: Any) -> None:
    locked = {each.name for each in torch_contents.lock.artifacts}
    assert locked - {each.artifact.name for each in torch_contents.packages} == {"isal", "zstandard"}


def test_licences_are_those_that_the_artifacts_declare(torch_contents: Any) -> None:
    assert torch_contents.named("cryptography").licences == Licences("Apache-2.0 OR BSD-3-Clause")
    assert torch_contents.named("zlib1g").licences == Licences(names=("Zlib",))
    assert torch_contents.named("libc6").licences == Licences()  # free text


def test_a_package_that_links_to_anothers_documentation_has_its_licences(torch_contents: Any) -> None:
    licences = torch_contents.named("libncursesw6").licences
    assert licences.names and licences == torch_contents.named("libtinfo6").licences


def test_wheels_depend_as_the_lock_says(torch_contents: Any) -> None:
    assert names(torch_contents.named("jinja2").depends) == {"markupsafe"}
    assert {"numpy", "torch"}.isdisjoint(names(torch_contents.named("torch").depends))
    assert {"sympy", "networkx", "filelock"} <= names(torch_contents.named("torch").depends)


def test_debian_packages_depend_as_their_control_files_say(torch_contents: Any) -> None:
    assert {"libc6", "libgcc-s1", "gcc-12-base"} == names(torch_contents.named("libstdc++6").depends)


def test_everything_is_reached_from_what_was_asked_for(torch_contents: Any) -> None:
    graph = {each.artifact.purl: each.depends for each in torch_contents.packages}
    reached: set[str] = set()
    queue = list(torch_contents.requested)
    while queue:
        if (purl := queue.pop()) not in reached:
            reached.add(purl)
            queue += graph[purl]
    assert reached == set(graph)
    assert {"torch", "numpy", "libstdc++6"} <= names(torch_contents.requested)
    assert "sympy" not in names(torch_contents.requested)


def test_a_missing_artifact_is_named_with_what_to_do(tmp_path: Path) -> None:
    artifact = Artifact("pkg:pypi/small@1.0?file_name=small-1.0-py3-none-any.whl", "a" * 64)
    lock = Lock("small", "linux-64", "3.11", 0, (artifact,), (PlannedLayer("small", (artifact.purl,)),), "", "")
    with pytest.raises(NotFoundError, match="pkg:pypi/small@1") as raised:
        read_packages(lock, {}, Store.open(tmp_path / "store"))
    assert "reprise fetch small" in raised.value.hint


def info_tar() -> bytes:
    data = json.dumps({"name": "small", "version": "1.0", "build": "0", "license": "MIT"}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("info/index.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["conda", "tar.bz2"])
def test_both_forms_of_a_conda_package_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"small-1.0-0.{kind}"
    if kind == "conda":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            archive.writestr("info-small-1.0-0.tar.zst", zstandard.compress(info_tar()))
            archive.writestr("pkg-small-1.0-0.tar.zst", zstandard.compress(bytes(1024)))
    else:
        path.write_bytes(bz2.compress(info_tar()))
    assert conda_metadata(path, "small")["license"] == "MIT"


def test_a_damaged_artifact_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(b"nothing")
    for read in (conda_metadata, wheel_metadata):
        with pytest.raises(InputError, match="the broken one"):
            read(path, "the broken one")
