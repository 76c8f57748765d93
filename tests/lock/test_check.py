"""The strict check, by sabotage: each thing that is wrong with a lock is named."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.lock.conftest import ROOT
from tests.support.wheels import write_wheel

from reprise.artifacts.fetch import fetch
from reprise.image.format import PythonLayout
from reprise.lock.check import check_lock, plan_problems
from reprise.lock.environment import read_environment
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN, Artifact, Lock, PlannedLayer
from reprise.lock.owners import find_shared_paths
from reprise.lock.read import read_lock
from reprise.store import Store

Edit = Callable[[dict[str, Any]], object]


def problems_after(committed: tuple[Path, Path], store: Store, name: str, edit: Edit) -> list[str]:
    folder, path = committed
    document = json.loads((folder / name).read_text())
    edit(document)
    (folder / name).write_text(json.dumps(document))
    return [str(problem) for problem in check_lock(folder, path, store)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def package(name: str, **changes: Any) -> Edit:
    def edit(lock: dict[str, Any]) -> None:
        next(each for each in lock["package"] if each["name"] == name).update(changes)

    return edit


def purl(file_name: str, name: str = "numpy", version: str = "2.4.6") -> str:
    return f"pkg:pypi/{name}@{version}?file_name={file_name}"


def test_the_committed_lock_has_no_problem_with_all_its_artifacts_at_hand() -> None:
    folder, path = ROOT / "locks" / "torch-cpu", ROOT / "containers" / "images" / "torch-cpu.toml"
    store = Store.open()
    fetch(read_lock(folder).artifacts, store, read_environment(path).sources)
    assert check_lock(folder, path, store) == []


@pytest.mark.parametrize(
    ("name", "edit", "problem"),
    [
        (CONDA_LOCK, package("numpy", hash={}), "numpy.*has no sha256"),
        (CONDA_LOCK, package("numpy", url=purl("numpy-2.4.6.tar.gz")), "not a wheel"),
        (
            CONDA_LOCK,
            package("numpy", url=purl("numpy-2.4.6-cp312-cp312-manylinux_2_28_x86_64.whl")),
            "does not fit Py",
        ),
        (CONDA_LOCK, package("numpy", url=purl("numpy-2.4.6-cp311-cp311-manylinux_2_39_x86_64.whl")), "glibc 2.36"),
        (CONDA_LOCK, package("numpy", url=purl("numpy-2.4.6-cp311-cp311-musllinux_1_2_x86_64.whl")), "does not fit"),
        (CONDA_LOCK, package("numpy", url=purl("numpy-2.4.5-cp311-cp311-linux_x86_64.whl")), "has the file name of"),
        (CONDA_LOCK, package("numpy", url=purl("numpy.whl")), "malformed file name"),
        (CONDA_LOCK, package("numpy", url="pkg:pypi/NumPy@2.4.6?file_name=x.whl"), "not a canonical package URL"),
        (CONDA_LOCK, package("numpy", url="pkg:pypi/numpy@2.4.6?file_name=https://h/numpy.whl"), "names a host"),
        (CONDA_LOCK, package("numpy", category="dev"), "category 'dev'"),
        (CONDA_LOCK, lambda lock: lock["package"].append(lock["package"][0]), "is in the lock 2 times"),
        (CONDA_LOCK, lambda lock: lock["package"].pop(0), "depends on annotated-types, which is not in the lock"),
        (CONDA_LOCK, package("pydantic", dependencies={"typing-extensions": ">=99"}), "locked is"),
        (CONDA_LOCK, lambda lock: lock["metadata"]["content_hash"].update({"linux-64": "0" * 64}), "does not match"),
        (
            CONDA_LOCK,
            lambda lock: lock["metadata"]["custom_metadata"].update(python="3.12"),
            "has no package python3.12",
        ),
        (CONDA_LOCK, lambda lock: lock["metadata"]["custom_metadata"].update(environment="x"), "environment 'x'"),
        (DEBIAN_LOCK, lambda lock: lock["packages"][0].pop("sha256"), "is not a lock: KeyError 'sha256'"),
        (DEBIAN_LOCK, lambda lock: lock["packages"][0].update(path="/etc/passwd"), "not a path below"),
        (DEBIAN_LOCK, lambda lock: lock["packages"][0].update(path="pool/../../x.deb"), "not a path below"),
        (DEBIAN_LOCK, lambda lock: lock["packages"][0].update(path="http://host/x.deb"), "names a host"),
        (DEBIAN_LOCK, lambda lock: lock["packages"][0].update(path="pool/x.dsc"), r"is no \.deb"),
        (DEBIAN_LOCK, lambda lock: lock.update(suite="sid"), "sid"),
        (DEBIAN_LOCK, lambda lock: lock["packages"].append(lock["packages"][0]), "is in the lock 2 times"),
        (LAYER_PLAN, lambda plan: plan["layers"][0]["artifacts"].pop(), "is in no layer"),
        (
            LAYER_PLAN,
            lambda plan: plan["layers"][0]["artifacts"].append("pkg:pypi/absent@1"),
            "absent.*not in the lock",
        ),
        (LAYER_PLAN, lambda plan: plan["layers"].append({**plan["layers"][0], "name": "again"}), "is in 2 layers"),
        (LAYER_PLAN, lambda plan: plan["layers"].append({"name": "empty", "artifacts": []}), "at least one"),
        (LAYER_PLAN, lambda plan: plan["layers"][0].update(name="base"), "layer 'base': needs a name of its own"),
        (LAYER_PLAN, lambda plan: plan["layers"][0].update(name="../x"), "needs a name of its own"),
        (LAYER_PLAN, lambda plan: plan["layers"][0].update(name="torch"), "needs a name of its own"),
    ],
)
def test_what_is_wrong_is_named(
    committed: tuple[Path, Path], store: Store, name: str, edit: Edit, problem: str
) -> None:
    found = problems_after(committed, store, name, edit)
    assert any(re.search(problem, each) for each in found), found


def test_a_layer_of_two_kinds_is_named() -> None:
    artifacts = (Artifact("pkg:pypi/a@1", "0" * 64), Artifact("pkg:deb/debian/b@1", "0" * 64))
    layers = (PlannedLayer("mixed", ("pkg:pypi/a@1", "pkg:deb/debian/b@1")),)
    lock = Lock("x", "linux-64", "3.11", 0, artifacts, layers, "0" * 64, "sha256:" + "0" * 64)
    assert [problem.what for problem in plan_problems(lock)] == ["must hold artifacts of one kind, and at least one"]


@pytest.mark.parametrize(("count", "expected"), [(57, 0), (58, 1)])
def test_more_than_sixty_layers_are_refused(count: int, expected: int) -> None:
    artifacts = tuple(Artifact(f"pkg:pypi/p{number}@1", "0" * 64) for number in range(count))
    layers = tuple(PlannedLayer(each.name, (each.purl,)) for each in artifacts)
    lock = Lock("x", "linux-64", "3.11", 0, artifacts, layers, "0" * 64, "sha256:" + "0" * 64)
    assert len(list(plan_problems(lock))) == expected


def keep(store: Store, path: Path) -> Artifact:
    name, version = path.name.split("-")[:2]
    data = path.read_bytes()
    store.add(data)
    return Artifact(purl(path.name, name, version), hashlib.sha256(data).hexdigest())


def shared(store: Store, tmp_path: Path, one: dict[str, bytes], other: dict[str, bytes]) -> list[tuple[str, list[str]]]:
    wheels = [
        keep(store, write_wheel(tmp_path, "one", files=one)),
        keep(store, write_wheel(tmp_path, "other", files=other)),
    ]
    names = {each.purl: each.name for each in wheels}
    found = find_shared_paths(wheels, store, PythonLayout("3.11"))
    return [(path, [names[owner] for owner in owners]) for path, owners in found]


PACKAGES = "usr/local/lib/python3.11/dist-packages"


def test_two_wheels_with_one_path_and_different_bytes_are_named(store: Store, tmp_path: Path) -> None:
    found = shared(store, tmp_path, {"tests/__init__.py": b"1"}, {"tests/__init__.py": b"2"})
    assert found == [(f"{PACKAGES}/tests/__init__.py", ["one", "other"])]


def test_two_wheels_may_have_the_same_file(store: Store, tmp_path: Path) -> None:
    assert shared(store, tmp_path, {"tests/__init__.py": b"same"}, {"tests/__init__.py": b"same"}) == []


def test_paths_are_compared_where_they_are_installed(store: Store, tmp_path: Path) -> None:
    one, other = {"one-1.0.data/purelib/m.py": b"1"}, {"m.py": b"2"}
    assert shared(store, tmp_path, one, other) == [(f"{PACKAGES}/m.py", ["one", "other"])]


def test_a_file_where_another_wheel_has_a_folder_is_named(store: Store, tmp_path: Path) -> None:
    found = shared(store, tmp_path, {"m": b"a file"}, {"m/__init__.py": b""})
    assert found == [(f"{PACKAGES}/m", ["one", "other"])]


def test_a_shared_path_in_the_store_is_a_problem_of_the_lock(
    committed: tuple[Path, Path], store: Store, tmp_path: Path
) -> None:
    folder, _ = committed
    wheels = {}
    for name in ("jinja2", "sympy"):
        version = next(each.version for each in read_lock(folder).artifacts if each.name == name)
        path = write_wheel(tmp_path, name, version, files={"shared.py": name.encode()})
        assert zipfile.is_zipfile(path)
        wheels[name] = keep(store, path)

    def swap(lock: dict[str, Any]) -> None:
        for name, artifact in wheels.items():
            package(name, url=artifact.purl, hash={"sha256": artifact.sha256})(lock)

    found = [each for each in problems_after(committed, store, CONDA_LOCK, swap) if "owned" in each]
    assert len(found) == 1
    assert found[0].startswith(f"/{PACKAGES}/shared.py: is owned with different content by pkg:pypi/jinja2@")
