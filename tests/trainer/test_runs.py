"""Whole runs in processes of their own: the same bits, whatever changes that should not matter."""

from __future__ import annotations

import json
import math
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.trainer.conftest import CONFIG, Ran, RunOnce, command, environment

from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.numerics.profiles import MARKER
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint
from reprise_trainer.training.checkpoints.retention import BestLosses
from reprise_trainer.training.ledger import first_difference, read_ledger, verify_ledger

STEPS = 29  # 3 epochs of 300 records in batches of 32, the last rounded up


@pytest.fixture(scope="module")
def reference(snapshot: OpenSnapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one undisturbed run of CONFIG."""
    output = tmp_path_factory.mktemp("reference") / "out"
    argv = command(CONFIG, snapshot, output)
    subprocess.run(argv, env=environment(), check=True, capture_output=True, timeout=300)
    return output


def ledger(output: Path) -> bytes:
    return (output / "ledger.jsonl").read_bytes()


def state(output: Path) -> str:
    return read_checkpoint(output / "checkpoints" / f"step-{STEPS:08d}").digest


def assert_same_bits(ran: Ran, reference: Path) -> None:
    assert ran.code == 0, ran.error
    assert first_difference(ledger(reference), ledger(ran.output)) is None
    assert ran.bits == (read_ledger(ledger(reference)).head, state(reference))


def test_two_runs_give_the_same_bits(run_once: RunOnce, reference: Path) -> None:
    ran = run_once()
    assert_same_bits(ran, reference)
    for name in ("state.json", "state.safetensors"):
        path = Path("checkpoints") / f"step-{STEPS:08d}" / name
        assert (ran.output / path).read_bytes() == (reference / path).read_bytes()


def test_the_ledger_holds_a_line_a_step_and_a_checkpoint(reference: Path) -> None:
    found = read_ledger(ledger(reference))
    assert [line["step"] for line in found.lines if "step" in line] == list(range(STEPS))
    assert list(found.checkpoints) == [10, 20, STEPS]
    for step, digest in found.checkpoints.items():
        assert read_checkpoint(reference / "checkpoints" / f"step-{step:08d}").digest == digest
    assert verify_ledger(ledger(reference), found.head) == found


def test_old_checkpoints_go_and_the_ledger_still_names_them(run_once: RunOnce, reference: Path) -> None:
    ran = run_once(CONFIG.replace("every = 10", "every = 10\nkeep_last = 1\nkeep_best = 1"))
    assert ran.code == 0, ran.error
    losses = BestLosses("loss", read_ledger(ledger(ran.output)).lines).of
    kept = {min(losses, key=lambda step: losses[step]), STEPS}
    assert {path.name for path in (ran.output / "checkpoints").iterdir()} == {f"step-{step:08d}" for step in kept}
    assert read_ledger(ledger(ran.output)).checkpoints == read_ledger(ledger(reference)).checkpoints
    assert ran.result["state"] == state(reference)


def test_another_seed_gives_other_bits_from_the_first_step_and_learns_too(run_once: RunOnce, reference: Path) -> None:
    ran = run_once(CONFIG.replace("seed = 7", "seed = 8").replace("epochs = 3", "epochs = 20"))
    assert ran.code == 0, ran.error
    first, other = (json.loads(ledger(output).splitlines()[1]) for output in (reference, ran.output))
    assert all(first[name] != other[name] for name in ("batch", "loss", "gradient"))
    assert ran.result["metrics"]["correct"] >= 0.8 * ran.result["metrics"]["total"] == 56


def test_what_should_not_matter_does_not(run_once: RunOnce, reference: Path, tmp_path: Path) -> None:
    changes = {
        "PYTHONHASHSEED": "12345",
        "LC_ALL": "tr_TR.UTF-8",
        "TZ": "Pacific/Kiritimati",
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    }
    assert_same_bits(run_once(changes=changes), reference)


def test_one_core_gives_the_same_bits_as_two(run_once: RunOnce, reference: Path) -> None:
    ran = run_once(prefix=("taskset", "-c", "0"))
    assert ran.result["workers"] == 1
    assert_same_bits(ran, reference)


def test_threads_and_instruction_set_are_pinned(run_once: RunOnce) -> None:
    ran = run_once(CONFIG.replace("threads = 1", "threads = 3").replace("epochs = 3", "steps = 2"))
    assert (ran.result["threads"], ran.result["capability"]) == ([3, 1], "AVX2")


def test_portable_is_a_profile_of_its_own(run_once: RunOnce, reference: Path) -> None:
    portable = CONFIG.replace('name = "small"', 'name = "small"\nprofile = "portable"')
    first = run_once(portable)
    second = run_once(portable, changes={"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AUTO"})
    assert first.code == second.code == 0, first.error + second.error
    assert first.result["capability"] == "DEFAULT"
    assert first.bits == second.bits
    assert first.result["state"] != state(reference)


def test_jax_gives_the_same_bits_whatever_should_not_matter(run_once: RunOnce) -> None:
    config = CONFIG.replace("epochs = 3", 'backend = "jax"\nsteps = 12')
    first = run_once(config)
    assert first.code == 0, first.error
    assert first.result["metrics"]["total"] == 70
    changes = {"NPROC": "7", "JAX_ENABLE_X64": "1", "PYTHONHASHSEED": "9"}
    others = [run_once(config, changes=changes), run_once(config, prefix=("taskset", "-c", "0"))]
    assert [each.bits for each in others] == [first.bits] * 2, [each.error for each in others]
    portable = run_once(config.replace('name = "small"', 'name = "small"\nprofile = "portable"'))
    assert portable.code == 0 and portable.result["state"] != first.result["state"], portable.error


def test_a_switch_that_does_not_stay_set_refuses(run_once: RunOnce) -> None:
    ran = run_once(changes={MARKER: "x86-64-v3", "ATEN_CPU_CAPABILITY": "default"})
    assert ran.code == 78
    assert "ATEN_CPU_CAPABILITY is 'default', expected 'avx2'" in ran.error
    assert list(ran.output.iterdir()) == []


def test_a_changed_record_refuses_before_the_first_step(run_once: RunOnce, snapshot: OpenSnapshot) -> None:
    shard = snapshot.folder / snapshot.snapshot.split("train").shards[0].path
    original = shard.read_bytes()
    shard.write_bytes(original[:100] + bytes([original[100] ^ 1]) + original[101:])
    try:
        ran = run_once()
    finally:
        shard.write_bytes(original)
    assert ran.code == 78
    assert str(shard) in ran.error and "Traceback" not in ran.error
    assert list(ran.output.iterdir()) == []


def test_a_killed_run_leaves_only_whole_checkpoints_and_hides_nothing(
    run_once: RunOnce, snapshot: OpenSnapshot, reference: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    frequent = CONFIG.replace("every = 10", "every = 1").replace("epochs = 3", "epochs = 30")
    with subprocess.Popen(command(frequent, snapshot, output), env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b'"step"' in line:
                break
        time.sleep(random.random())
        process.send_signal(signal.SIGKILL)
    whole = [folder for folder in (output / "checkpoints").iterdir() if not folder.name.startswith(".")]
    assert whole
    for folder in whole:
        read_checkpoint(folder)
    assert_same_bits(run_once(), reference)


def test_output_that_is_not_empty_is_left_alone(run_once: RunOnce, snapshot: OpenSnapshot, tmp_path: Path) -> None:
    output = tmp_path / "old"
    argv = command(CONFIG, snapshot, output)
    (output / "ledger.jsonl").write_text("mine\n")
    process = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True)
    assert process.returncode == 65
    assert "line 1 is not a ledger line" in process.stderr and "Traceback" not in process.stderr
    assert [path.name for path in output.iterdir()] == ["ledger.jsonl"]
    assert (output / "ledger.jsonl").read_text() == "mine\n"


def test_a_full_disk_is_one_message(snapshot: OpenSnapshot, small_disk: Path) -> None:
    config = CONFIG.replace("hidden = 16", "hidden = 4096")  # a state of 20 MB
    process = subprocess.run(
        command(config, snapshot, small_disk / "out"), env=environment(), check=False, capture_output=True
    )
    assert process.returncode == 74
    assert b"No space left" in process.stderr and b"Traceback" not in process.stderr
    assert not list((small_disk / "out" / "checkpoints").iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_last_step_that_leaves_no_numbers_is_a_failure_like_any_other(
    run_once: RunOnce, snapshot: OpenSnapshot, workers: int
) -> None:
    overflowing = CONFIG.replace("epochs = 3", "steps = 1").replace("lr = 0.01", "lr = 1e300")
    ran = run_once(overflowing, workers=workers)
    assert ran.code == 65 and "Traceback" not in ran.error
    assert re.search(r"step 0: model/\S+ is not finite after it; see .*failure.json", ran.error)
    assert not list((ran.output / "checkpoints").glob("*"))
    found = json.loads((ran.output / "failure/failure.json").read_bytes())
    assert found["step"] == 0 and math.isfinite(float.fromhex(found["loss"])) and found["checkpoint"] is None
    script = ["sh", str(ran.output / "failure/reproduce.sh"), str(snapshot.folder)]
    again = subprocess.run(
        script, env=environment({"PYTHON": sys.executable}), check=False, capture_output=True, text=True
    )
    assert again.returncode == 0 and "the same as recorded" in again.stdout, again.stderr


def test_a_checkpoint_that_holds_no_numbers_is_not_the_last_good_one(run_once: RunOnce) -> None:
    overflowing = CONFIG.replace("lr = 0.01", "lr = 1e300").replace("every = 10", "every = 1")
    ran = run_once(overflowing)
    assert ran.code == 65, ran.error
    found = json.loads((ran.output / "failure/failure.json").read_bytes())
    assert found["step"] == 1 and found["checkpoint"] is None
    assert [path.name for path in (ran.output / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_training_that_diverges_leaves_a_record_that_repeats_exactly_that_step(
    run_once: RunOnce, snapshot: OpenSnapshot
) -> None:
    diverging = CONFIG.replace('kind = "adamw"', 'kind = "sgd"').replace("lr = 0.01", "lr = 1e30")
    diverging = diverging.replace("every = 10", "every = 1")
    ran = run_once(diverging)
    assert ran.code == 65 and "Traceback" not in ran.error
    folder = ran.output / "failure"
    found = json.loads((folder / "failure.json").read_bytes())
    assert re.search(rf"step {found['step']}: the (loss|gradient) is .*failure.json", ran.error)
    assert len(found["records"]) == 32 and "conv1.weight" in found["gradients"].keys() & found["weights"].keys()
    assert found["checkpoint"] == [found["step"], found["state"]]
    assert read_checkpoint(folder / f"step-{found['step']:08d}").digest == found["state"]

    script = ["sh", str(folder / "reproduce.sh"), str(snapshot.folder)]
    again = subprocess.run(
        script, env=environment({"PYTHON": sys.executable}), check=False, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "the same as recorded" in again.stdout

    (folder / "failure.json").write_text(json.dumps({**found, "loss": "0x1p+0"}))
    other = subprocess.run(
        script, env=environment({"PYTHON": sys.executable}), check=False, capture_output=True, text=True
    )
    assert other.returncode == 1 and "not what was recorded" in other.stdout
