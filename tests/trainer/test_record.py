"""The run record: signed by the run's own key, and only when the launcher vouches for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.trainer.conftest import CONFIG as CONFIG_TEXT

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.read import read_config
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import DoesNotHoldError, InputError, RefusedError
from reprise_trainer.evaluation.evaluate import Evaluation
from reprise_trainer.evaluation.tally import Tally
from reprise_trainer.identity.bundle import DELEGATION, make_statement, public_pem, sign_statement
from reprise_trainer.identity.delegation import Delegation, verify_delegation, verify_run_record
from reprise_trainer.identity.inventory import Inventory
from reprise_trainer.identity.launch import Launch
from reprise_trainer.identity.measure import Measurement
from reprise_trainer.identity.policy import Policy, PolicyKey, write_policy
from reprise_trainer.identity.start import Identity
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.numerics.proof import Proof, WorkerMachine, table_digest
from reprise_trainer.reporting.report import write_report
from reprise_trainer.training.loop import Trained
from reprise_trainer.training.plan import make_plan
from reprise_trainer.training.records.describe import describe_run
from reprise_trainer.training.records.record import (
    AttemptFacts,
    CheckpointFacts,
    ImageFacts,
    LedgerFacts,
    ProfileFacts,
    ResourceFacts,
    RunKey,
    RunRecord,
    read_record,
    read_run_key,
    sign_record,
)
from reprise_trainer.training.records.resources import machine, peak_memory, process_times
from reprise_trainer.training.run import Outcome

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CONFIG = b"[run]\n"
LAUNCH = Launch("sha256:" + "1" * 64, "sha256:" + "2" * 64, "run-1", "namespaces")


@pytest.fixture(scope="module")
def launcher() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def run_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def folder(launcher: ec.EllipticCurvePrivateKey, run_key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Path:
    """A launch folder as far as signing needs it."""
    (tmp_path / "run-key.pem").write_bytes(run_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    policy = Policy((PolicyKey("launcher", public_pem(launcher.public_key())),))
    (tmp_path / "policy.toml").write_text(write_policy(policy))
    delegate(tmp_path, launcher, delegation(run_key))
    return tmp_path


def delegation(run_key: ec.EllipticCurvePrivateKey) -> Delegation:
    return Delegation(
        run=LAUNCH.run,
        public_key=public_pem(run_key.public_key()),
        image=LAUNCH.image,
        config=sha256_digest(CONFIG),
        snapshot=LAUNCH.snapshot,
        nonce="00" * 16,
        expires=NOW + timedelta(hours=1),
    )


def delegate(folder: Path, key: ec.EllipticCurvePrivateKey, said: Delegation) -> None:
    statement = make_statement("torch-cpu", said.image, DELEGATION, said.predicate())
    (folder / "delegation.sigstore.json").write_bytes(sign_statement(key, statement))


def record(**changes: object) -> RunRecord:
    values = {
        "run": LAUNCH.run,
        "image": ImageFacts(digest=LAUNCH.image, files=3, bytes_hashed=4, milliseconds=5),
        "lock": "",
        "source": "",
        "environment": "",
        "engine": LAUNCH.engine,
        "config": sha256_digest(CONFIG),
        "config_text": CONFIG.decode(),
        "snapshot": LAUNCH.snapshot,
        "snapshot_name": "small",
        "profile": ProfileFacts(name="portable", promise="", table=PROFILES["portable"].table(2)),
        "seed": 1,
        "backend": "torch",
        "backend_version": "2.13.0+cpu",
        "ledger": LedgerFacts(head="sha256:" + "3" * 64, lines=12),
        "checkpoints": (CheckpointFacts(step=11, state="sha256:" + "4" * 64),),
        "state": "sha256:" + "4" * 64,
        "metrics": {"accuracy": "0.9000", "correct": 9, "total": 10, "loss": (0.3).hex()},
        "resources": ResourceFacts(workers=2, wall_milliseconds=1, cpu_milliseconds=2, peak_memory_bytes=3),
        "machine": machine(),
        "started": "2026-01-31T12:00:00Z",
        "finished": "2026-01-31T12:01:00Z",
        "delegation": "sha256:" + "5" * 64,
    }
    return RunRecord.model_validate({**values, **changes})


def test_a_record_is_verified_from_the_policys_key_down(folder: Path, launcher: ec.EllipticCurvePrivateKey) -> None:
    key = read_run_key(folder, LAUNCH, config=sha256_digest(CONFIG), at=NOW)
    bundle = sign_record(record(delegation=key.delegation), key, subject="torch-cpu")

    data = (folder / "delegation.sigstore.json").read_bytes()
    assert key.delegation == sha256_digest(data)
    vouched = verify_delegation(data, {"launcher": launcher.public_key()}, at=NOW)
    assert read_record(verify_run_record(bundle, vouched).predicate) == record(delegation=key.delegation)


def test_a_record_of_another_run_does_not_hold(folder: Path, run_key: ec.EllipticCurvePrivateKey) -> None:
    key = read_run_key(folder, LAUNCH, config=sha256_digest(CONFIG), at=NOW)
    other = sign_record(record(config="sha256:" + "9" * 64), key, subject="torch-cpu")
    with pytest.raises(DoesNotHoldError, match="config"):
        verify_run_record(other, delegation(run_key))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: replace(said, run="run-2"), "another run"),
        (lambda said: replace(said, image="sha256:" + "8" * 64), "another image"),
        (lambda said: replace(said, config="sha256:" + "8" * 64), "another configuration"),
        (lambda said: replace(said, snapshot="sha256:" + "8" * 64), "another snapshot"),
        (lambda said: replace(said, expires=NOW - timedelta(seconds=1)), "expired"),
        (
            lambda said: replace(said, public_key=public_pem(ec.generate_private_key(ec.SECP256R1()).public_key())),
            "another key",
        ),
    ],
)
def test_a_delegation_for_something_else_refuses(
    folder: Path,
    launcher: ec.EllipticCurvePrivateKey,
    run_key: ec.EllipticCurvePrivateKey,
    change: Callable[[Delegation], Delegation],
    message: str,
) -> None:
    delegate(folder, launcher, change(delegation(run_key)))
    with pytest.raises(RefusedError, match=message):
        read_run_key(folder, LAUNCH, config=sha256_digest(CONFIG), at=NOW)


def test_a_delegation_by_a_stranger_refuses(folder: Path, run_key: ec.EllipticCurvePrivateKey) -> None:
    delegate(folder, run_key, delegation(run_key))
    with pytest.raises(RefusedError, match="not by a known key"):
        read_run_key(folder, LAUNCH, config=sha256_digest(CONFIG), at=NOW)


@pytest.mark.parametrize("name", ["run-key.pem", "delegation.sigstore.json", "policy.toml"])
def test_a_missing_or_broken_file_refuses(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"nonsense")
    with pytest.raises(RefusedError):
        read_run_key(folder, LAUNCH, config=sha256_digest(CONFIG), at=NOW)
    (folder / name).unlink()
    with pytest.raises(RefusedError, match=name):
        read_run_key(folder, LAUNCH, config=sha256_digest(CONFIG), at=NOW)


def test_a_predicate_that_is_no_record_names_the_field() -> None:
    predicate = record().model_dump(mode="json")
    assert read_record(predicate) == record()
    with pytest.raises(InputError, match=r"ledger\.head"):
        read_record({**predicate, "ledger": {"head": "x", "lines": 1}})
    with pytest.raises(InputError, match="surplus"):
        read_record({**predicate, "surplus": 1})


def test_the_report_says_what_the_record_says(tmp_path: Path) -> None:
    write_report(record(), tmp_path)
    document = json.loads((tmp_path / "report.json").read_bytes())
    assert (document["state"], document["steps"]) == (record().state, 11)
    text = (tmp_path / "report.md").read_text()
    for part in (record().state, record().image.digest, "0.9000 (9 of 10)", "[run]"):
        assert part in text


def evaluation_of(correct: int, total: int, loss: float) -> Evaluation:
    """An evaluation of two classes, its losses all alike."""
    tally = Tally(2)
    tally.confusion[0, 0], tally.confusion[0, 1] = correct, total - correct
    tally.losses, tally.weights = [loss] * total, [1.0] * total
    return Evaluation(tally, {})


def test_a_run_is_described_by_its_measurement_launch_and_outcome(
    snapshot: OpenSnapshot, run_key: ec.EllipticCurvePrivateKey
) -> None:
    labels = {"reprise.lock": "sha256:" + "6" * 64, "reprise.environment": "sha256:" + "7" * 64}
    inventory = Inventory((), {"config": {"Labels": labels}})
    measurement = Measurement(LAUNCH.image, 10, 20, 0.5, (), {}, inventory)
    identity = Identity(LAUNCH.image, "launcher", LAUNCH, measurement)
    config = CONFIG_TEXT.encode()
    run_config = read_config(config, where="run.toml")
    state = "sha256:" + "4" * 64
    outcome = Outcome(
        config=run_config,
        source=snapshot,
        plan=make_plan(run_config, snapshot),
        backend="torch",
        backend_version="2.13.0+cpu",
        workers=2,
        proof=Proof(
            "unproven",
            ("other bits than the operation table's: exp",),
            "AMD, x86-64-v3",
            {"exp": "0" * 16},
            (WorkerMachine("AMD, x86-64-v3", table_digest({"exp": "0" * 16})),) * 2,
        ),
        trained=Trained(None, state, ((29, state),)),
        evaluated=evaluation_of(66, 70, 0.25).facts(),
        ledger_head="sha256:" + "3" * 64,
        ledger_lines=30,
    )
    described = describe_run(identity, config, outcome, RunKey(run_key, "sha256:" + "5" * 64), started=NOW)
    assert read_record(described.model_dump(mode="json")) == described
    assert described.profile.promise == "withdrawn for this run: other bits than the operation table's: exp"
    assert described.proof is not None
    assert (described.proof.status, described.proof.operations) == ("unproven", {"exp": "0" * 16})
    assert [each.machine for each in described.proof.workers] == ["AMD, x86-64-v3"] * 2
    assert described.proof.workers[1].operations == table_digest({"exp": "0" * 16})
    assert (described.lock, described.source, described.environment) == (
        labels["reprise.lock"],
        "",
        "sha256:" + "7" * 64,
    )
    assert (described.image.digest, described.image.milliseconds) == (LAUNCH.image, 500)
    assert described.metrics == {"accuracy": "0.9429", "correct": 66, "total": 70, "loss": (0.25).hex()}
    assert described.profile.table["environment"]["OMP_NUM_THREADS"] == "1"
    assert described.checkpoints[-1].state == described.state == state


def test_the_report_says_that_an_attempt_could_reach_a_network(tmp_path: Path) -> None:
    """Of any attempt: what came out follows from all of them."""
    facts: dict[str, Any] = {
        "started": "",
        "ended": "",
        "why": "finished",
        "first_step": 0,
        "last_step": 1,
        "workers": 1,
    }
    write_report(record(attempts=(AttemptFacts(**facts, network=("eth0",)), AttemptFacts(**facts))), tmp_path)
    assert "| network | could be reached by eth0 |" in (tmp_path / "report.md").read_text()
    write_report(record(attempts=(AttemptFacts(**facts),)), tmp_path)
    assert "network" not in (tmp_path / "report.md").read_text()


def test_interfaces_are_those_that_are_up_in_this_very_network_namespace() -> None:
    """Whatever /sys says, which is the host's here."""
    program = "from reprise_trainer.training.records.resources import interfaces; print(*interfaces())"
    command = f'"$0" -c "{program}"; ip link set lo up; ip link add d1 type bridge; ip link add d2 type bridge;'
    command += f'ip link set d1 up; "$0" -c "{program}"'
    done = subprocess.run(["unshare", "--net", "sh", "-c", command, sys.executable], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\nd1\n", "")


def test_resources_are_those_of_this_process() -> None:
    wall, cpu = process_times()
    assert cpu > 0 and 0 < wall < 24 * 3600
    assert 10 * 2**20 < peak_memory() < 2**40
