"""A lock's text is a function of what is locked: any order gives the same bytes, and reading gives it back."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from conda_lock.lockfile import parse_conda_lock_file
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lock.conftest import TOML

from reprise.lock.conda import LockedPackage
from reprise.lock.conda_part import CondaSolution
from reprise.lock.debian import DebianSolution
from reprise.lock.environment import read_environment
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN, Allowed, Artifact, Environment, LockedConda
from reprise.lock.plan import plan_layers
from reprise.lock.pypi import LockedWheel, wheel_purl
from reprise.lock.read import read_lock
from reprise.lock.render import conda_lock, debian_lock, layer_plan
from reprise.lock.specification import Specification
from reprise.lock.update import keep

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
VERSIONS = st.from_regex(r"[1-9](\.[0-9]){0,2}", fullmatch=True)
HASHES = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
PACKAGES = st.dictionaries(NAMES, st.tuples(VERSIONS, HASHES, st.lists(NAMES, max_size=3)), max_size=8)
CONDA = LockedConda(
    "/opt/env",
    "lib/python3.11/site-packages",
    (("__cuda", "12.4"), ("__glibc", "2.36")),
    Allowed(("a",), (("share/x", "b"),)),
)


def environment() -> Environment:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.toml"
        path.write_text(TOML)
        return read_environment(path)


ENVIRONMENT = environment()


def conda_packages(chosen: dict[str, tuple[str, str, list[str]]]) -> list[LockedPackage]:
    return [
        LockedPackage(
            *(name, version, "h0_0", f"https://conda.example/c/linux-64/{name}-{version}-h0_0.conda"),
            *(sha256[:32], sha256, 10, tuple(f"{each} >=1" for each in sorted(set(needs)))),
        )
        for name, (version, sha256, needs) in chosen.items()
    ]


def wheels(chosen: dict[str, tuple[str, str, list[str]]]) -> list[LockedWheel]:
    return [
        LockedWheel(
            Artifact(wheel_purl(name, version, f"{name}-{version}-py3-none-any.whl"), sha256),
            "",
            dict.fromkeys(sorted(set(needs)), ""),
        )
        for name, (version, sha256, needs) in chosen.items()
    ]


def texts(packages: list[LockedPackage], found: list[LockedWheel]) -> dict[str, str]:
    solution = CondaSolution(Specification(("https://conda.example/c",), ()), CONDA, tuple(packages))
    artifacts = [*(each.artifact for each in packages), *(each.artifact for each in found)]
    sizes = {each.purl: 10 for each in artifacts}
    return {
        CONDA_LOCK: conda_lock(ENVIRONMENT, found, solution),
        DEBIAN_LOCK: debian_lock(DebianSolution("bookworm", 0, ())),
        LAYER_PLAN: layer_plan(plan_layers(artifacts, sizes)),
    }


@settings(max_examples=25)
@given(PACKAGES, PACKAGES, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bytes(
    conda: dict[str, tuple[str, str, list[str]]], pip: dict[str, tuple[str, str, list[str]]], chance: random.Random
) -> None:
    packages, found = conda_packages(conda), wheels(pip)
    before = texts(packages, found)
    chance.shuffle(packages)
    chance.shuffle(found)
    assert texts(packages, found) == before


@settings(max_examples=25)
@given(PACKAGES, PACKAGES)
def test_what_is_written_is_read_back_and_written_the_same(
    conda: dict[str, tuple[str, str, list[str]]], pip: dict[str, tuple[str, str, list[str]]]
) -> None:
    packages, found = conda_packages(conda), wheels(pip)
    written = texts(packages, found)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in written.items():
            (folder / file).write_text(text)
        lock = read_lock(folder)
        assert lock.conda == CONDA
        assert {(each.purl, each.sha256) for each in lock.artifacts} == {
            (each.artifact.purl, each.artifact.sha256) for each in (*packages, *found)
        }
        theirs = parse_conda_lock_file(folder / CONDA_LOCK)
        assert {each.name for each in theirs.package} == conda.keys() | pip.keys()
        kept = keep(lock, folder, ())
    again = texts([replace(each, size=10) for each in kept.conda], list(kept.wheels.values()))
    assert again == written


def test_two_specs_of_one_name_become_one() -> None:
    package = LockedPackage(
        *("a", "1", "0", "https://conda.example/c/linux-64/a-1-0.conda", "0" * 32, "0" * 64),
        depends=("b >=1", "b <3", "b", "c 1.0 *_cpu", "c >=1", "d 1|2", "d <9", "e"),
    )
    (entry,) = json.loads(texts([package], [])[CONDA_LOCK])["package"]
    assert entry["dependencies"] == {"b": "<3,>=1", "c": "1.0 *_cpu", "d": "(1|2),<9", "e": ""}
