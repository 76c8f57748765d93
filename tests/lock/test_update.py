"""`--update NAME`: only the named package moves, and what it forces; the summary says what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.lock.conftest import Workshop
from tests.support.conda_channel import index_channel
from tests.support.conda_package import Package, write_package
from tests.support.debian_archive import Package as DebianPackage
from tests.support.debian_archive import write_archive
from tests.support.wheels import write_wheel

from reprise.lock.changes import Change
from reprise.lock.model import DEBIAN_LOCK, Artifact, Lock
from reprise.lock.write import Proposal, propose_lock, write_lock
from reprise_trainer.errors import InputError, NotFoundError


def versions(lock: Lock, kind: str) -> dict[str, str]:
    return {each.name: each.version for each in lock.artifacts if each.kind == kind}


def moved(proposal: Proposal) -> dict[str, str]:
    return {each.name: each.what for each in proposal.changes}


@pytest.fixture
def old_conda(workshop: Workshop, channel: str) -> Workshop:
    """Locked at old versions, which the environment no longer asks for."""
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy 1.26.*", "libblas 1.0.*", "apart"]')
    workshop.lock()
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy", "libblas", "apart"]')
    return workshop


@pytest.mark.parametrize(
    ("update", "numpy", "libblas"),
    [
        (("apart",), "1.26.4", "1.0"),
        (("libblas",), "1.26.4", "1.1"),
        (("numpy",), "2.1.0", "1.1"),
        (("libblas", "numpy"), "2.1.0", "1.1"),
        ((), "2.1.0", "1.1"),
    ],
)
def test_conda_packages_stay_but_for_the_named_ones_and_what_they_force(
    old_conda: Workshop, update: tuple[str, ...], numpy: str, libblas: str
) -> None:
    proposal = old_conda.propose(*update)
    found = versions(proposal.lock, "conda")
    assert (found["numpy"], found["libblas"], found["apart"]) == (numpy, libblas, "1.0")
    assert set(moved(proposal).values()) <= {"moved"}


def test_a_locked_conda_package_that_its_channel_dropped_stays(workshop: Workshop, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "channel"
    path = write_package(folder, Package("kept", "1.0"))
    write_package(folder, Package("user", "1.0", depends=("kept",)))
    workshop.write(f'channels = ["{index_channel(folder).folder.as_uri()}"]\npackages = ["user"]')
    workshop.lock()
    aside = path.rename(tmp_path / path.name)
    write_package(folder, Package("kept", "2.0"))
    write_package(folder, Package("user", "2.0", depends=("kept",)))
    index_channel(folder)
    aside.rename(path)  # an archive may well serve what its index no longer lists
    assert versions(workshop.propose("user").lock, "conda") == {"kept": "1.0", "user": "2.0"}
    assert versions(workshop.propose().lock, "conda") == {"kept": "2.0", "user": "2.0"}


@pytest.fixture
def old_pip(environment: Path, tmp_path: Path, offline_pip: Path, mirror: str) -> Workshop:
    workshop = Workshop(environment, tmp_path / "locks" / "small", mirror)
    environment.write_text(environment.read_text().replace('["alpha"]', '["alpha", "gamma"]'))
    write_wheel(offline_pip, "alpha", requires=["beta>=1,<2"])
    write_wheel(offline_pip, "beta")
    write_wheel(offline_pip, "gamma", requires=["beta"])
    workshop.lock()
    write_wheel(offline_pip, "alpha", "2.0", requires=["beta>=2"])
    for name, version in (("beta", "1.5"), ("beta", "2.0"), ("gamma", "2.0")):
        write_wheel(offline_pip, name, version)
    return workshop


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (("alpha",), {"alpha": "2.0", "beta": "2.0", "gamma": "1.0"}),
        (("beta",), {"alpha": "1.0", "beta": "1.5", "gamma": "1.0"}),
        (("Gamma",), {"alpha": "1.0", "beta": "1.0", "gamma": "2.0"}),
        (("libc6",), {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}),
        ((), {"alpha": "2.0", "beta": "2.0", "gamma": "2.0"}),
    ],
)
def test_wheels_stay_but_for_the_named_ones_and_what_they_force(
    old_pip: Workshop, update: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert versions(old_pip.propose(*update).lock, "wheel") == expected


def test_a_package_that_another_holds_back_does_not_drag_the_rest_along(old_pip: Workshop, offline_pip: Path) -> None:
    write_wheel(offline_pip, "alpha", "3.0", requires=["beta>=2", "gamma>=2"])
    write_wheel(offline_pip, "holder", requires=["beta<2"])
    file = old_pip.file
    file.write_text(file.read_text().replace('["alpha", "gamma"]', '["alpha", "gamma", "holder"]'))
    assert versions(old_pip.propose("alpha").lock, "wheel") == {
        "alpha": "1.0", "beta": "1.0", "gamma": "1.0", "holder": "1.0"
    }  # fmt: skip


def test_a_changed_requirement_moves_what_it_no_longer_accepts(old_pip: Workshop) -> None:
    file = old_pip.file
    file.write_text(file.read_text().replace('["alpha", "gamma"]', '["alpha", "gamma>=2"]'))
    found = versions(old_pip.propose("alpha").lock, "wheel")
    assert found == {"alpha": "2.0", "beta": "2.0", "gamma": "2.0"}
    found = versions(old_pip.propose("libc6").lock, "wheel")
    assert found == {"alpha": "1.0", "beta": "1.0", "gamma": "2.0"}


def test_a_better_wheel_of_the_locked_version_is_not_taken(old_pip: Workshop, offline_pip: Path) -> None:
    write_wheel(offline_pip, "beta", tag="cp311-cp311-manylinux_2_28_x86_64", files={"b.py": b"x"})
    assert moved(old_pip.propose("gamma")) == {"gamma": "moved"}


def test_a_local_build_of_the_locked_version_is_not_taken(old_pip: Workshop, offline_pip: Path) -> None:
    write_wheel(offline_pip, "beta", "1.0+cpu")
    assert versions(old_pip.propose("gamma").lock, "wheel")["beta"] == "1.0"


def archive(tmp_path: Path, *packages: DebianPackage) -> str:
    return write_archive(tmp_path / "archive", packages)


def test_debian_packages_stay_where_the_suite_still_has_them(
    environment: Path, tmp_path: Path, offline_pip: Path, mirror: str
) -> None:
    write_wheel(offline_pip, "alpha")
    folder = tmp_path / "locks" / "small"
    python = DebianPackage("python3.11-minimal", depends="libc6, libz")
    old = [python, DebianPackage("libc6"), DebianPackage("libz"), DebianPackage("dpkg")]
    mirror = archive(tmp_path, *old)
    write_lock(folder, propose_lock(environment, folder, debian_mirror=mirror))
    mirror = archive(tmp_path, *old, DebianPackage("libc6", "2.0"), DebianPackage("libz", "2.0"))
    lock = propose_lock(environment, folder, update=["libz"], debian_mirror=mirror).lock
    assert versions(lock, "deb") == {"libc6": "1.0", "libz": "2.0", "python3.11-minimal": "1.0"}
    mirror = archive(tmp_path, python, DebianPackage("libc6", "2.0"), old[2], old[3])
    lock = propose_lock(environment, folder, update=["libz"], debian_mirror=mirror).lock
    assert versions(lock, "deb")["libc6"] == "2.0", "the suite has no other"


def test_the_images_time_stays_with_its_debian_packages(old_pip: Workshop, tmp_path: Path) -> None:
    lock = json.loads((old_pip.folder / DEBIAN_LOCK).read_text())
    (old_pip.folder / DEBIAN_LOCK).write_text(json.dumps({**lock, "created": 1}))
    assert old_pip.propose("gamma").lock.created == 1
    assert old_pip.propose().lock.created == lock["created"]


def test_a_name_that_is_not_in_the_lock_is_answered_with_near_ones(old_pip: Workshop) -> None:
    with pytest.raises(InputError, match=r"no package gama to update\ndid you mean: gamma"):
        old_pip.propose("gama")


def test_without_a_lock_there_is_nothing_to_update(environment: Path, tmp_path: Path, mirror: str) -> None:
    with pytest.raises(NotFoundError, match="reprise lock"):
        propose_lock(environment, tmp_path / "none", update=["alpha"], debian_mirror=mirror)


def test_a_proposal_writes_nothing(old_pip: Workshop) -> None:
    before = {path.name: path.read_bytes() for path in old_pip.folder.iterdir()}
    assert moved(old_pip.propose()) == {"alpha": "moved", "beta": "moved", "gamma": "moved"}
    assert {path.name: path.read_bytes() for path in old_pip.folder.iterdir()} == before


def test_an_update_changes_only_the_lines_of_what_moved(old_pip: Workshop) -> None:
    before = (old_pip.folder / "conda-lock.yml").read_text().splitlines()
    old_pip.lock("gamma")
    after = (old_pip.folder / "conda-lock.yml").read_text().splitlines()
    changed = [line for line in after if line not in before]
    assert len(changed) == 3, "hash, address and version: " + "\n".join(changed)


def test_the_summary_names_what_was_added_removed_and_moved_with_sizes(old_pip: Workshop, offline_pip: Path) -> None:
    file = old_pip.file
    file.write_text(file.read_text().replace('["alpha", "gamma"]', '["gamma", "delta"]'))
    delta = write_wheel(offline_pip, "delta")
    proposal = old_pip.lock()
    found = {each.name: each for each in proposal.changes}
    assert moved(proposal) == {"alpha": "removed", "beta": "removed", "delta": "added", "gamma": "moved"}
    assert str(found["gamma"]).startswith("  wheel gamma 1.0 → 2.0  (")
    assert str(found["alpha"]) == "- wheel alpha 1.0"
    assert found["delta"].document()["new"]["size"] == delta.stat().st_size
    assert old_pip.lock().changes == ()


def test_another_build_of_one_version_is_told_apart() -> None:
    one, other = (Artifact(f"pkg:conda/a@1?build={build}", build * 64) for build in ("0", "1"))
    change = Change("conda", "a", one, other, 2_000_000, 3_000)
    assert str(change) == "  conda a 1 (0) → 1 (1)  (2.0 MB → 3.0 kB)"
    assert change.document()["change"] == "rebuilt"
