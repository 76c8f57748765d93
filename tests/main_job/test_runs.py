"""A run inside the image: the same digest everywhere, the same bits from every engine, refusals before it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reprise.build import BuiltImage
from reprise.kept_runs import RUN_TYPE
from reprise.store import Store
from reprise.train import Launcher
from reprise.trust.keys import make_key, private_pem
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise.trust.verify import verify_image
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import public_pem
from reprise_trainer.identity.policy import Policy, PolicyKey
from tests.main_job.conftest import CHECKOUT, EXAMPLE, Trains


def test_what_was_built_and_signed_is_what_the_trainer_measures(
    trains: Trains, torch_cpu: BuiltImage, launcher: Launcher
) -> None:
    run = trains("run")
    assert run.image_digest == run.measured_digest == torch_cpu.digest
    assert verify_image(launcher.store, torch_cpu.digest, launcher.policy).holds


def test_two_runs_have_the_same_bits_and_another_seed_has_others(trains: Trains) -> None:
    first, second = trains("first"), trains("second")
    other = trains("other", ("seed = 1", "seed = 2"))
    assert (first.ledger_head, first.state_digest) == (second.ledger_head, second.state_digest)
    assert other.state_digest != first.state_digest and other.ledger_head != first.ledger_head


def test_the_portable_profile_gives_bits_of_its_own(trains: Trains) -> None:
    portable, again = (trains(name, ('"x86-64-v3"', '"portable"')) for name in ("one", "two"))
    assert portable.state_digest == again.state_digest


def test_docker_gives_the_same_bits_as_namespaces(
    trains: Trains, launcher: Launcher, docker_daemon: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_daemon)
    ours = trains("namespaces")
    docker = trains("docker", who=replace(launcher, engine="docker"))
    assert docker.measured_digest == ours.measured_digest
    assert (docker.ledger_head, docker.state_digest) == (ours.ledger_head, ours.state_digest)


def test_a_policy_of_two_signers_is_judged_on_the_host_and_in_the_image(
    trains: Trains, torch_cpu: BuiltImage, launcher: Launcher
) -> None:
    rebuilder = make_key()
    both = Policy(
        (*launcher.policy.keys, PolicyKey("rebuilder", public_pem(rebuilder.public_key()))),
        signers=2,
        not_after=datetime.now(UTC).replace(microsecond=0) + timedelta(days=1),
        revoked_images=("sha256:" + "0" * 64,),
    )
    who = replace(launcher, policy=both)
    with pytest.raises(DoesNotHoldError, match="1 of at least 2 signers"):
        trains("one-signer", who=who)
    sign_image(launcher.store, torch_cpu.digest, "torch-cpu", rebuilder)
    assert trains("two-signers", who=who).measured_digest == torch_cpu.digest


def test_an_unsigned_image_is_not_started(trains: Trains, launcher: Launcher, tmp_path: Path) -> None:
    stranger = make_key()
    who = replace(launcher, key=stranger, policy=own_policy(stranger.public_key()))
    with pytest.raises(DoesNotHoldError, match="policy does not hold"):
        trains("unsigned", who=who)
    assert not (tmp_path / "unsigned").exists()


def test_an_output_folder_with_files_is_left_alone(trains: Trains, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        trains("mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_run_leaves_all_that_its_audit_needs(trains: Trains, launcher: Launcher) -> None:
    run = trains("run")
    names = {path.name for path in run.output.iterdir()}
    assert {"ledger.jsonl", "checkpoints", "report.json", "report.md", "record.sigstore.json"} <= names
    kept = launcher.store.referrers(run.image_digest, RUN_TYPE)
    assert run.record in [manifest["digest"] for manifest in kept]


def test_the_command_lines_json_has_the_keys_that_stay(
    shared_store: Store, torch_cpu: BuiltImage, launcher: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    key = tmp_path / "home" / "signing-key.pem"
    key.touch(mode=0o600)
    key.write_bytes(private_pem(launcher.key))
    config = tmp_path / "run.toml"
    config.write_text(EXAMPLE.read_text().replace("epochs = 2", "steps = 4"))
    environment = {**os.environ, "REPRISE_HOME": str(tmp_path / "home"), "REPRISE_STORE": str(shared_store.root)}

    def reprise(*arguments: str) -> dict[str, object]:
        command = [sys.executable, "-m", "reprise", *arguments, "--json"]
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        document: dict[str, object] = json.loads(done.stdout)
        return document

    assert {"digest", "environment_digest", "layers", "seconds"} <= reprise("build", "torch-cpu").keys()
    assert reprise("sign", "torch-cpu")["image"] == torch_cpu.digest
    assert reprise("verify", "torch-cpu")["holds"] is True
    run = reprise("train", str(config), "--engine", "namespaces", "--output", str(tmp_path / "run"))
    digests = {"image_digest", "measured_digest", "snapshot_digest", "ledger_head", "state_digest", "metrics"}
    assert digests <= run.keys()
    audit = reprise("audit", str(tmp_path / "run"))
    assert {"verdict", "image", "data", "ledger", "state"} <= audit.keys()
    assert audit["verdict"] == "same bits"
