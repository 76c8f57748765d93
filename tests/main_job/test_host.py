"""A bare host: an empty store and a policy, an image in a registry → the bits that the project's own machine gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from oci_registry import OciRegistry, serve_registry

from reprise.build import BuiltImage
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.train import Launcher
from reprise_trainer.identity.policy import write_policy
from tests.main_job.conftest import EXAMPLE, Trains


def test_podman_gives_the_same_bits_as_namespaces(trains: Trains, launcher: Launcher, own_podman: None) -> None:
    ours, podman = trains("namespaces"), trains("podman", who=replace(launcher, engine="podman"))
    assert podman.measured_digest == ours.measured_digest
    assert (podman.ledger_head, podman.state_digest) == (ours.ledger_head, ours.state_digest)


def test_a_reference_a_policy_and_a_configuration_are_enough(
    trains: Trains, launcher: Launcher, torch_cpu: BuiltImage, shared_store: Store, tmp_path: Path
) -> None:
    """The host has a key of its own, which the policy does not name: it signs for what ran, not for the image."""
    expected = trains("here")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "policy.toml").write_text(write_policy(launcher.policy))
    config = (tmp_path / "here.toml").read_text()
    (bare / "run.toml").write_text(config.replace('environment = "torch-cpu"', 'environment = "not-on-this-host"'))
    assert EXAMPLE.read_text() != config
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")},
        "REPRISE_STORE": str(bare / "store"),
        "REPRISE_HOME": str(bare / "home"),
    }
    with serve_registry(OciRegistry()) as registry:
        reference = f"{registry.host}/team/torch-cpu:1"
        push(shared_store, torch_cpu.digest, parse_reference(reference))
        command = [sys.executable, "-m", "reprise", "run", f"{reference}@{torch_cpu.digest}"]
        command += ["--policy", "policy.toml", "--output", "out", "--json", "--", "run.toml"]
        done = subprocess.run(command, cwd=bare, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["measured_digest"] == result["image_digest"] == torch_cpu.digest
    assert result["state_digest"] == expected.state_digest
    assert result["reference"] == f"{reference}@{torch_cpu.digest}"
