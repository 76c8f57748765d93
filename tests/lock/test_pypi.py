"""The Python part: pip's resolver, asked for the image's Python rather than for the one that it runs on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.support.wheels import write_wheel

from reprise.lock.pypi import solve
from reprise.lock.target import Target
from reprise_trainer.errors import InputError, UnavailableError

TARGET = Target("3.11", (2, 36))


def names(*requirements: str, target: Target = TARGET) -> list[str]:
    return [f"{each.artifact.name} {each.artifact.version}" for each in solve(requirements, target)]


def test_dependencies_come_with_their_hashes_and_package_urls(offline_pip: Path) -> None:
    write_wheel(offline_pip, "alpha", requires=["Beta_B>=2"])
    path = write_wheel(offline_pip, "beta-b", "2.1+local")
    write_wheel(offline_pip, "unrelated")
    alpha, beta = solve(["alpha"], TARGET, "build")
    assert alpha.dependencies == {"beta-b": ">=2"}
    assert beta.artifact.purl == "pkg:pypi/beta-b@2.1%2Blocal?file_name=beta_b-2.1%2Blocal-py3-none-any.whl"
    assert beta.artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (beta.artifact.file_name, beta.artifact.category) == (path.name, "build")


def test_the_best_wheel_for_the_image_is_chosen(offline_pip: Path) -> None:
    for tag in (
        "cp311-cp311-manylinux_2_39_x86_64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "py3-none-any",
    ):
        write_wheel(offline_pip, "alpha", tag=tag)
    (alpha,) = solve(["alpha"], TARGET)
    assert alpha.artifact.file_name == "alpha-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    ("python", "expected"), [("3.10", ["alpha 1.0", "old 1.0"]), ("3.13", ["alpha 1.0", "new 1.0"])]
)
def test_markers_are_those_of_the_images_python(offline_pip: Path, python: str, expected: list[str]) -> None:
    write_wheel(offline_pip, "alpha", requires=["old; python_version < '3.11'", "new; python_version >= '3.12'"])
    write_wheel(offline_pip, "old")
    write_wheel(offline_pip, "new")
    assert names("alpha", target=Target(python, (2, 36))) == expected


def test_extras_bring_their_dependencies_and_others_do_not(offline_pip: Path) -> None:
    write_wheel(offline_pip, "alpha", requires=["beta; extra == 'fast'", "gamma; extra == 'slow'"])
    write_wheel(offline_pip, "beta")
    write_wheel(offline_pip, "gamma")
    assert names("alpha") == ["alpha 1.0"]
    assert names("alpha[fast]") == ["alpha 1.0", "beta 1.0"]


def test_the_machines_own_packages_do_not_count(offline_pip: Path) -> None:
    write_wheel(offline_pip, "alpha", requires=["pytest"])
    with pytest.raises((InputError, UnavailableError), match="pytest"):
        solve(["alpha"], TARGET)


def test_an_sdist_is_never_built(offline_pip: Path) -> None:
    (offline_pip / "alpha-1.0.tar.gz").write_bytes(b"never opened")
    with pytest.raises((InputError, UnavailableError), match="alpha"):
        solve(["alpha"], TARGET)


def test_requirements_that_contradict_each_other_are_named(offline_pip: Path) -> None:
    write_wheel(offline_pip, "alpha", requires=["beta<2"])
    write_wheel(offline_pip, "beta", "1.0")
    write_wheel(offline_pip, "beta", "2.0")
    with pytest.raises(InputError, match="beta"):
        solve(["alpha", "beta>=2"], TARGET)


def test_a_malformed_requirement_is_named(offline_pip: Path) -> None:
    with pytest.raises(InputError, match=r"'alpha ==' is not a requirement"):
        solve(["alpha =="], TARGET)
