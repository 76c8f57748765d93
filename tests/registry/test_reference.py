"""References are read as docker reads them, but for a host that nobody wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.registry.reference import Reference, is_loopback, parse_reference
from reprise_trainer.errors import InputError

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.org/b", Reference("a.org", "b")),
        ("a.org:5000/b/c_d__e-f.g:v1.0-X_y", Reference("a.org:5000", "b/c_d__e-f.g", "v1.0-X_y")),
        (f"localhost/b@{DIGEST}", Reference("localhost", "b", "", DIGEST)),
        (f"[::1]:5000/b:1@{DIGEST}", Reference("[::1]:5000", "b", "1", DIGEST)),
    ],
)
def test_the_forms(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("docker.io/debian:12", "docker.io/library/debian:12"),
        (f"docker.io/debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}"),
        ("index.docker.io/debian", "docker.io/library/debian"),
        ("index.docker.io/team/debian:1", "docker.io/team/debian:1"),
        ("docker.io/team/debian", "docker.io/team/debian"),
        ("a.docker.io/debian", "a.docker.io/debian"),
    ],
)
def test_docker_s_hub_has_its_own_images_under_library(text: str, meant: str) -> None:
    assert str(parse_reference(text)) == meant


def test_the_digest_counts_before_the_tag_and_no_tag_is_latest() -> None:
    assert parse_reference(f"a.org/b:1@{DIGEST}").name == DIGEST
    assert parse_reference("a.org/b:1").name == "1"
    assert parse_reference("a.org/b").name == "latest"


@pytest.mark.parametrize(
    "text",
    [
        *("", "b", "b:1", "team/b:1", "a.org", "a.org/", "a.org/B", "a.org/b:", "a.org/b:.x", "a.org/b@", "a.org/b//c"),
        *(
            f"a.org/b@sha256:{'A' * 64}",
            f"a.org/b@{DIGEST}0",
            "a.org/b@md5:00",
            "http://a.org/b",
            "a.org/../b",
            "a.org/b c",
        ),
        *("a.org/b:" + "x" * 129, "a.org/" + "b" * 300, "a.org:x/b", "me:pw@a.org/b", "a.org/b\n", "a.org/b:1\n"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(InputError):
        parse_reference(text)


@given(st.text(alphabet="ab.:/@-_[]0\n", max_size=40))
def test_what_is_taken_is_written_back_as_it_was(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InputError:
        return
    assert str(reference) == text
    assert "/" not in reference.host and "\n" not in text


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "a.localhost", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000"]
)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["localhost.org", "127.0.0.1.org:5000", "128.0.0.1", "0.0.0.0", "[::2]:1", "xlocalhost", "[fe80::1]", "a.org"],
)
def test_other_machines(host: str) -> None:
    assert not is_loopback(host)
