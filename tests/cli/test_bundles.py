"""`reprise bundle` and `reprise load` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_image import Entry, make_image

from reprise.store import Store
from reprise.store.references import record_pull


def test_an_image_goes_into_a_file_and_out_of_it_where_the_policy_holds(reprise: Any, tmp_path: Path) -> None:
    digest = make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}}).digest
    assert reprise("sign", "small").code == 0
    written = json.loads(reprise("bundle", "small", "-o", "small.tar", "--json").out)
    assert written["image"] == digest and written["bytes"] == (tmp_path / "project" / "small.tar").stat().st_size
    there = ("--store", tmp_path / "there")
    unsigned = reprise("load", "small.tar", *there, "--policy", tmp_path / "other.toml")
    assert unsigned.code == 66  # a policy that was named must exist
    loaded = json.loads(reprise("load", "small.tar", *there, "--save-policy", "came.toml", "--json").out)
    assert (loaded["image"], loaded["name"], loaded["judged"]) == (digest, "", False)
    key = json.loads(reprise("key", "--json").out)
    assert loaded["policy_keys"] == {"own": key["fingerprint"]}
    assert reprise("verify", digest, *there, "--policy", "came.toml").code == 0
    again = reprise("load", "small.tar", *there, "--save-policy", "came.toml")
    assert again.code == 65 and "is not replaced" in again.err


def test_where_an_image_came_from_goes_along_and_counts_by_a_person_s_word_alone(reprise: Any, tmp_path: Path) -> None:
    digest = make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}}).digest
    assert reprise("sign", "small").code == 0
    policy = tmp_path / "home" / "policy.toml"
    rule = 'repositories = ["registry.example.org/team/*"]'
    policy.write_text(policy.read_text().replace("[require]\n", f"[require]\n{rule}\n"))
    pulled, there = "registry.example.org/team/small:1", ("--store", tmp_path / "there")
    record_pull(Store.open(tmp_path / "store"), pulled, [digest])
    assert reprise("bundle", "small", "-o", "small.tar").code == 0
    refused = reprise("load", "small.tar", *there, "--policy", policy)
    assert refused.code == 1 and f"it says that its image came from {pulled}" in refused.err and "--as" in refused.err
    assert reprise("load", "small.tar", *there, "--as", pulled).code == 2  # nothing is judged, so nothing is said
    assert not Store(tmp_path / "there").listed()
    loaded = json.loads(reprise("load", "small.tar", *there, "--policy", policy, "--as", pulled, "--json").out)
    assert (loaded["reference"], loaded["claimed_references"]) == (pulled, [pulled])
    assert reprise("verify", pulled, *there, "--policy", policy).code == 0
    assert reprise("bundle", "small", "-o", "other.tar", "--as", "registry.example.org/other/small:1").code == 0
    assert reprise("load", "other.tar", *there, "--policy", policy, "--as", pulled).code == 1


def test_an_image_that_the_policy_does_not_accept_is_not_loaded(reprise: Any, tmp_path: Path) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}})
    assert reprise("key").code == 0
    (tmp_path / "home").joinpath("policy.toml").unlink(missing_ok=True)
    other = make_image(Store.open(tmp_path / "others"), {"base": {"etc/name": Entry(b"y")}})
    assert reprise("sign", "small", "--store", tmp_path / "others").code == 0  # writes the policy
    assert reprise("bundle", "small", "-o", "small.tar").code == 0
    policy = tmp_path / "home" / "policy.toml"
    done = reprise("load", "small.tar", "--store", tmp_path / "there", "--policy", policy)
    assert done.code == 1 and "the image has no signatures" in done.err and other.digest not in done.err
    assert Store(tmp_path / "there").listed() == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["bundle", "none", "-o", "x.tar"], 66, "none"),
        (["bundle", "small", "-o", "x.tar", "--policy", "none.toml"], 66, "none.toml"),
        (["bundle", "small", "-o", "/proc/x.tar"], 66, "policy"),
        (["load", "none.tar"], 66, "none.tar"),
        (["load", "examples/fashion-mnist.toml"], 65, "not a tar file"),
    ],
)
def test_what_is_wrong_is_one_message(reprise: Any, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}})
    done = reprise(*arguments)
    assert done.code == code, done.err
    assert said in done.err and done.err.count("error:") == 1
