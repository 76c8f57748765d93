"""Each ecosystem's order, against the tool that defines it."""

from __future__ import annotations

import subprocess

import pytest
import rattler
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reprise.vulnerabilities.versions import conda_key, debian_key, pypi_key

UPSTREAM = st.from_regex(r"[0-9][a-z0-9.+~-]{0,6}(?<!-)", fullmatch=True)
DEBIAN = st.builds(
    lambda epoch, upstream, revision: epoch + upstream + revision,
    st.sampled_from(["", "0:", "1:"]),
    UPSTREAM,
    st.one_of(st.just(""), st.from_regex(r"-[a-z0-9.+~]{1,5}", fullmatch=True)),
)
PART = st.from_regex(r"([0-9]{1,3})?(a|b|rc|dev|post|z)?([0-9]{1,2})?", fullmatch=True).filter(bool)
CONDA = st.builds(
    lambda epoch, first, parts, local: f"{epoch}{first}{''.join(f'.{each}' for each in parts)}{local}",
    st.sampled_from(["", "0!", "1!"]),
    st.integers(0, 12),
    st.lists(PART, max_size=3),
    st.sampled_from(["", "+1", "+abc.2"]),
)


def sign(key: object, other: object) -> int:
    return (key > other) - (key < other)  # type: ignore[operator]


def dpkg(one: str, other: str) -> int:
    def holds(relation: str) -> bool:
        done = subprocess.run(["dpkg", "--compare-versions", one, relation, other], capture_output=True)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0

    return 0 if holds("eq") else (-1 if holds("lt") else 1)


@settings(max_examples=150)
@given(DEBIAN, DEBIAN)
@example("1.0", "1.0~rc1")
@example("1.0", "1.0-0")
@example("1.0+b1", "1.0")
@example("0:1", "1")
@example("1a", "1+")
@example("1.00", "1.0")
def test_debians_order_is_dpkgs(one: str, other: str) -> None:
    assert sign(debian_key(one), debian_key(other)) == dpkg(one, other)


@given(DEBIAN)
def test_a_debian_version_equals_itself_with_leading_zeros(version: str) -> None:
    epoch, colon, rest = version.rpartition(":")
    assert debian_key(version) == debian_key(f"{epoch}{colon}0{rest}")


@settings(max_examples=300)
@given(CONDA, CONDA)
@example("1.0", "1.0.dev1")
@example("1", "1.0.0")
@example("1.0.1_", "1.0.1a")
@example("1.1.1a", "1.1.1")
@example("1.0post1", "1.0")
@example("1.0-1", "1.0_1")
def test_condas_order_is_rattlers(one: str, other: str) -> None:
    ours = sign(conda_key(one), conda_key(other))
    assert ours == sign(rattler.Version(one), rattler.Version(other))


@given(CONDA)
def test_equal_conda_versions_have_one_hash(version: str) -> None:
    public, plus, local = version.partition("+")
    same = f"{public}.0{plus}{local}"
    if conda_key(version) == conda_key(same):
        assert hash(conda_key(version)) == hash(conda_key(same))


def test_a_local_build_is_its_public_release() -> None:
    assert pypi_key("2.13.0+cpu") == pypi_key("2.13")
    assert pypi_key("2.13.0rc1") < pypi_key("2.13.0")


@pytest.mark.parametrize(("key", "text"), [(pypi_key, "no version"), (debian_key, "a:1"), (conda_key, "1 2")])
def test_what_is_no_version_is_refused(key: object, text: str) -> None:
    with pytest.raises(ValueError):
        key(text)  # type: ignore[operator]
