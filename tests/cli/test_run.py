"""`reprise run` as a user of a bare host meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry
from small_image import Entry, make_image

from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import load_or_make_policy

CONFIG = "examples/fashion-mnist.toml"


@pytest.fixture(autouse=True)
def policy(tmp_path: Path) -> Path:
    """The host's own policy, as its administrator has written it."""
    path = tmp_path / "home" / "policy.toml"
    load_or_make_policy(make_key().public_key(), path)
    return path


def test_a_host_that_was_not_told_whom_to_trust_runs_nothing_and_makes_no_policy(reprise: Any, policy: Path) -> None:
    policy.unlink()
    done = reprise("run", "127.0.0.1:1/a:1", "--", CONFIG)
    assert done.code == 66 and f"cannot read the policy {policy}" in done.err
    assert not any(policy.parent.iterdir())


def test_an_unsigned_image_ends_in_one_message_and_exit_code_1(reprise: Any, tmp_path: Path) -> None:
    origin = Store.open(tmp_path / "origin")
    digest = make_image(origin, {"base": {"etc/name": Entry(b"x")}}).digest
    with serve_registry(OciRegistry()) as registry:
        reference = f"{registry.host}/team/small:1"
        push(origin, digest, parse_reference(reference))
        registry.asked.clear()
        done = reprise("run", reference, "--json", "--", CONFIG)
        blobs = [each.path.rpartition("/")[2] for each in registry.asked if "/blobs/" in each.path]
    assert done.code == 1 and done.err.count("error:") == 1
    assert "the image has no signatures" in json.loads(done.out)["error"]["message"]
    assert f"{reference}@{digest}" in done.err  # what the tag was resolved to is shown
    assert blobs == [origin.manifest(digest)["config"]["digest"]]
    assert Store(tmp_path / "store").listed() == [] and not (tmp_path / "project" / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere", CONFIG], 66, "has no image 'nowhere'"),
        (["127.0.0.1:5/a@sha256:12", CONFIG], 66, "has no image"),
        (["127.0.0.1:1/a:1", CONFIG], 69, "gives no answer"),
        (["127.0.0.1:1/a:1", "none.toml"], 66, "none.toml"),
        (["127.0.0.1:1/a:1", CONFIG, "--policy", "none.toml"], 66, "none.toml"),
        (["127.0.0.1:1/a:1", CONFIG, "--set", "run.sed=1"], 65, "did you mean 'seed'"),
        (["127.0.0.1:1/a:1", CONFIG, "--set", "seed"], 65, "expected KEY=VALUE"),
        (
            ["127.0.0.1:1/a:1", CONFIG, "--shards-from", "127.0.0.1:1/b:1", "--shard-cache", "2 GBs"],
            2,
            "is not a size",
        ),
        (["127.0.0.1:1/a:1", CONFIG, "--shard-cache", "2GB"], 2, "--shards-from"),
        (["127.0.0.1:1/a:1", CONFIG, "--fresh"], 2, "--resume"),
        (["127.0.0.1:1/a:1", CONFIG, "--resume", "a", "--output", "b"], 2, "Leave --output away"),
        (["127.0.0.1:1/a:1", CONFIG, "--key", "relase.pem"], 66, "`reprise key --key relase.pem` makes one"),
        (["127.0.0.1:1/a:1", CONFIG, "--key", "awskm:alias/x"], 2, "begin with"),
        (["127.0.0.1:1/a:1", CONFIG, "--secret", "hunter22"], 2, "expected NAME=FILE"),
        (["127.0.0.1:1/a:1", CONFIG, "--secret", "hub=hunter22"], 66, "the file of the secret hub: No such file"),
        (["127.0.0.1:1/a:1", CONFIG, "--secret", "hub=/dev/null"], 65, "is not a regular file"),
        (["127.0.0.1:1/a:1", CONFIG, "--gpus", "all"], 2, "gives a run no GPU"),
        (["127.0.0.1:1/a:1", CONFIG, "--engine", "podman", "--gpus", "all"], 2, "gives a run no GPU"),
        (["127.0.0.1:1/a:1", CONFIG, "--engine", "docker", "--gpus", "most"], 65, "does not name GPUs"),
    ],
)
def test_what_is_wrong_is_one_message(reprise: Any, arguments: list[str], code: int, said: str) -> None:
    done = reprise("run", *arguments)
    assert done.code == code, done.err
    assert said in done.err and done.err.count("error:") == 1
    assert "hunter22" not in done.out + done.err
