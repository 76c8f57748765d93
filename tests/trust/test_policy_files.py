"""Policies that grow by a launcher's key, and those that come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy, save_new_policy, with_launcher
from reprise_trainer.errors import InputError
from reprise_trainer.identity.policy import Policy, read_policy, write_policy


def policy_of(*names: str) -> Policy:
    policy = own_policy(make_key().public_key())
    for name in names:
        policy = with_launcher(policy, name, make_key().public_key())
    return policy


def test_a_key_is_added_once_and_nothing_else_changes() -> None:
    policy, key = policy_of("release"), make_key().public_key()
    grown = with_launcher(policy, "launcher", key)
    assert grown.launchers[:-1] == policy.launchers and grown.keys == policy.keys
    assert grown.predicates == policy.predicates
    assert grown.delegating_keys()["launcher"] == key and "launcher" not in grown.public_keys()
    assert with_launcher(grown, "again", key) == grown


def test_a_name_that_is_taken_gets_a_number() -> None:
    names = [each.name for each in policy_of("own", "launcher", "launcher", "launcher").launchers]
    assert names == ["own-2", "launcher", "launcher-2", "launcher-3"]


def test_a_key_for_images_needs_no_second_entry_to_launch() -> None:
    key = make_key().public_key()
    assert with_launcher(own_policy(key), "launcher", key) == own_policy(key)


def test_a_grown_policy_reads_back_as_it_was_written() -> None:
    policy = policy_of("launcher", "launcher")
    assert read_policy(write_policy(policy).encode()) == policy


def test_a_policy_from_elsewhere_is_saved_once_and_never_over_another(tmp_path: Path) -> None:
    data = write_policy(policy_of()).encode()
    saved = save_new_policy(data, tmp_path / "policy.toml")
    assert (tmp_path / "policy.toml").read_bytes() == data and saved == read_policy(data)
    with pytest.raises(InputError, match="is not replaced"):
        save_new_policy(write_policy(policy_of()).encode(), tmp_path / "policy.toml")
    assert (tmp_path / "policy.toml").read_bytes() == data


def test_what_is_no_policy_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the policy in the bundle"):
        save_new_policy(b"[[keys]]", tmp_path / "policy.toml")
    assert list(tmp_path.iterdir()) == []
