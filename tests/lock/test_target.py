"""Which wheels fit the image."""

from __future__ import annotations

import platform
import sys

import pytest
from packaging.markers import default_environment
from packaging.tags import parse_tag

from reprise.lock.target import Target, target_of
from reprise_trainer.errors import InputError

TARGET = target_of("3.11", "linux-64", "bookworm")


@pytest.mark.parametrize(
    "tag",
    [
        "py3-none-any",
        "py2.py3-none-any",
        "py311-none-any",
        "cp311-none-any",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp311-cp311-manylinux_2_36_x86_64",
        "cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64",
        "cp36-abi3-manylinux1_x86_64",
        "cp311-abi3-manylinux_2_34_x86_64",
        "py3-none-manylinux2010_x86_64",
        "cp311-cp311-linux_x86_64",
    ],
)
def test_a_wheel_for_this_python_and_glibc_fits(tag: str) -> None:
    assert parse_tag(tag) & TARGET.tags


@pytest.mark.parametrize(
    "tag",
    [
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp310-cp310-manylinux_2_28_x86_64",
        "cp312-abi3-manylinux_2_28_x86_64",
        "cp311-cp311-manylinux_2_37_x86_64",
        "cp311-cp311-manylinux_2_39_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-manylinux_2_28_aarch64",
        "cp311-cp311-macosx_11_0_arm64",
        "cp311-cp311-win_amd64",
        "pp311-pypy311_pp73-manylinux_2_28_x86_64",
        "py2-none-any",
        "py312-none-any",
    ],
)
def test_a_wheel_for_another_machine_does_not(tag: str) -> None:
    assert not parse_tag(tag) & TARGET.tags


def test_markers_are_this_pythons_but_for_what_a_lock_cannot_know() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    ours = Target(version, (2, 36)).markers
    theirs = dict(default_environment())
    assert ours.keys() == theirs.keys()
    unknown = {"platform_release", "platform_version", "python_full_version", "implementation_version"}
    assert platform.machine() == "x86_64"
    assert {key: ours[key] for key in ours.keys() - unknown} == {key: theirs[key] for key in theirs.keys() - unknown}


def test_another_platform_is_refused() -> None:
    with pytest.raises(InputError, match="osx-64"):
        target_of("3.11", "osx-64", "bookworm")
    with pytest.raises(InputError, match="sid"):
        target_of("3.11", "linux-64", "sid")
