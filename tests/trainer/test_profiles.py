"""Profiles: one table, and a CPU or a process that can't keep it is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.trainer.conftest import CONFIG, RunOnce, environment

from reprise_trainer.backends import torch_switches
from reprise_trainer.config.run import RunSection
from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError, SystemFailureError
from reprise_trainer.numerics.cpu import machine_class, require_cpu
from reprise_trainer.numerics.enter import unset_switches
from reprise_trainer.numerics.profiles import MARKER, PROFILES, Profile, profile_asked_for


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    path = tmp_path / "cpuinfo"
    flags = " ".join(PROFILES["x86-64-v3"].cpu_flags)
    path.write_text(f"processor\t: 0\nmodel name\t: Test CPU\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\nflags\t: x\n")
    return path


def test_a_cpu_with_all_flags_is_accepted(cpuinfo: Path) -> None:
    require_cpu(PROFILES["x86-64-v3"], cpuinfo=cpuinfo)


@pytest.mark.parametrize("flag", ["avx2", "fma", "ssse3"])
def test_a_missing_flag_is_named_with_the_cpu(cpuinfo: Path, flag: str) -> None:
    cpuinfo.write_text(cpuinfo.read_text().replace(f" {flag}", "", 1))
    with pytest.raises(SystemFailureError, match=rf"Test CPU\) lacks {flag}, which profile 'x86-64-v3'"):
        require_cpu(PROFILES["x86-64-v3"], cpuinfo=cpuinfo)


def test_portable_needs_no_avx(cpuinfo: Path) -> None:
    cpuinfo.write_text(cpuinfo.read_text().replace(" avx2", "").replace(" avx", "").replace(" fma", ""))
    require_cpu(PROFILES["portable"], cpuinfo=cpuinfo)


def test_a_machine_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemFailureError):
        read_cpuinfo(tmp_path / "missing")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_switch_is_looked_at(profile: Profile) -> None:
    switches = profile.switches(2)
    assert unset_switches(profile, 2, switches) == {}
    for name in switches:
        without = {each: value for each, value in switches.items() if each != name}
        assert list(unset_switches(profile, 2, without)) == [name]
        assert list(unset_switches(profile, 2, {**switches, name: "other"})) == [name]


REPRODUCIBLE = [profile for profile in PROFILES.values() if profile.reproducible]


@pytest.mark.parametrize("profile", REPRODUCIBLE, ids=lambda profile: profile.name)
def test_the_table_names_threads_instruction_sets_and_the_marker(profile: Profile) -> None:
    table = profile.table(3)["environment"]
    assert table["OMP_NUM_THREADS"] == table["MKL_NUM_THREADS"] == table["OPENBLAS_NUM_THREADS"] == "3"
    assert {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "OPENBLAS_CORETYPE", "XLA_FLAGS"} <= table.keys()
    assert table["NPROC"] == "3"
    assert table[MARKER] == profile.name


def test_the_configuration_knows_the_same_profiles() -> None:
    assert RunSection.model_fields["profile"].annotation.__args__ == tuple(PROFILES)  # type: ignore[union-attr]


def test_profile_and_threads_are_read_from_the_configuration() -> None:
    profile, threads = profile_asked_for(CONFIG.encode(), where="run.toml")
    assert (profile.name, threads) == ("x86-64-v3", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run", "not a TOML file"),
        ("run = 1", "run.profile"),
        ('[run]\nprofile = "quick"', "run.profile: there are x86-64-v3, portable, cuda, fast, not 'quick'"),
        ("[run]\nthreads = 0", "run.threads: expected a number of threads from 1, not 0"),
        ("[run]\nthreads = true", "run.threads"),
        ("[run]", "run.threads"),
        ("[run]\nprofile = []", "run.profile"),
    ],
)
def test_a_wrong_profile_or_number_of_threads_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        profile_asked_for(text.encode(), where="run.toml")


def test_a_profile_cannot_be_entered_once_something_numeric_is_loaded() -> None:
    script = (
        "import numpy\nfrom reprise_trainer.numerics.enter import enter_profile\n"
        "from reprise_trainer.numerics.profiles import PROFILES\n"
        "enter_profile(PROFILES['portable'], 1)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment(), check=False, capture_output=True, text=True
    )
    assert "RefusedError: numpy was loaded before profile 'portable' could be set" in process.stderr


def test_the_process_starts_again_once_and_keeps_its_arguments() -> None:
    script = (
        "import os, sys\nfrom reprise_trainer.numerics.enter import enter_profile\n"
        "from reprise_trainer.numerics.profiles import PROFILES\n"
        "print('start', sys.argv[1:], flush=True)\nenter_profile(PROFILES['portable'], 5)\n"
        "print(os.environ['OMP_NUM_THREADS'], sys.flags.isolated)"
    )
    argv = [sys.executable, "-B", "-c", script, "a b", ""]
    process = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True)
    assert process.stdout.splitlines() == ["start ['a b', '']"] * 2 + ["5 0"]


def run_python(script: str, *, stdin: str | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *(("-c", script) if stdin is None else ("-",))]
    return subprocess.run(
        argv, env=environment(changes), input=stdin, check=False, capture_output=True, text=True, timeout=60
    )


ENTER = (
    "import os\nfrom reprise_trainer.numerics.enter import enter_profile, require_profile\n"
    "from reprise_trainer.numerics.profiles import PROFILES\n"
)


def test_flags_for_xla_that_the_profile_does_not_set_are_kept() -> None:
    script = ENTER + "enter_profile(PROFILES['portable'], 1)\nprint(os.environ['XLA_FLAGS'])"
    flags = "--xla_cpu_enable_fast_math=false --xla_dump_hlo_as_text --xla_force_host_platform_device_count=2"
    process = run_python(script, XLA_FLAGS=flags)
    ours = PROFILES["portable"].environment["XLA_FLAGS"]
    assert process.stdout == f"{ours} --xla_dump_hlo_as_text=true --xla_force_host_platform_device_count=2\n"


def test_flags_for_xla_that_contradict_the_profile_are_refused() -> None:
    process = run_python(ENTER + "enter_profile(PROFILES['portable'], 1)", XLA_FLAGS="--xla_cpu_max_isa=AVX512")
    assert (
        "RefusedError: XLA_FLAGS has --xla_cpu_max_isa=AVX512, profile 'portable' sets it to SSE4_2" in process.stderr
    )


def test_a_flag_beside_the_profiles_makes_the_record_unproven(run_once: RunOnce) -> None:
    short = CONFIG.replace("epochs = 3", "steps = 1")
    ran = run_once(short, changes={"XLA_FLAGS": "--xla_dump_hlo_as_text=true"})
    assert ran.result["proof"] == "unproven"
    assert "XLA_FLAGS has --xla_dump_hlo_as_text=true, which the profile does not set" in ran.result["reasons"]


def test_a_library_refuses_and_names_each_variable() -> None:
    process = run_python(ENTER + "require_profile(PROFILES['portable'], 3)", NPROC="3", OMP_NUM_THREADS="4")
    message = process.stderr.rpartition("RefusedError: ")[2]
    assert "OMP_NUM_THREADS is '4', expected '3'" in message and "NPROC" not in message
    for name in PROFILES["portable"].switches(3).keys() - {"NPROC", "OMP_NUM_THREADS"}:
        assert f"{name} is not set, expected" in message
    assert "Set them before Python starts" in message
    given = run_python(ENTER + "require_profile(PROFILES['portable'], 3)", **PROFILES["portable"].switches(3))
    assert given.returncode == 0, given.stderr


def test_a_run_called_as_a_library_refuses_before_anything_numeric_is_loaded(snapshot: OpenSnapshot) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom reprise_trainer.training.run import Request, run\n"
        f"config = {CONFIG!r}.encode()\n"
        f"request = Request(config, '', {snapshot.digest!r}, Path({str(snapshot.folder)!r}), Path('/nowhere'))\n"
        "try:\n    run(request, lambda event: None)\n"
        "except Exception as error:\n    print(type(error).__name__, 'ATEN_CPU_CAPABILITY' in str(error))\n"
        "print('torch' in sys.modules)"
    )
    process = run_python(script)
    assert process.stdout == "RefusedError True\nFalse\n", process.stderr


def test_a_program_from_a_pipe_is_not_started_again() -> None:
    process = run_python("", stdin=ENTER + "enter_profile(PROFILES['portable'], 1)")
    assert (
        "RefusedError: no command that could be run again under profile 'portable': OMP_NUM_THREADS is"
        in process.stderr
    )


def test_a_switch_that_does_not_stay_set_is_refused_the_second_time() -> None:
    script = "import os\nos.environ['NPROC'] = '9'\n" + ENTER + "enter_profile(PROFILES['portable'], 1)"
    process = run_python(script)
    assert "RefusedError: profile 'portable' was entered, yet NPROC is '9', expected '1'" in process.stderr


def test_the_profile_for_gpus_refuses_where_there_is_none(run_once: RunOnce) -> None:
    config = CONFIG.replace("seed = 7", 'profile = "cuda"\nseed = 7').replace(
        "epochs = 3", 'backend = "jax"\nsteps = 1'
    )
    ran = run_once(config)
    assert ran.code == 71
    assert "error: the profile computes on a gpu, and jax finds none" in ran.error and "Use an environment" in ran.error
    assert "Traceback" not in ran.error and ran.error.count("error: ") == 1
    with pytest.raises(SystemFailureError, match="the profile computes on a GPU, and this build of torch is for CPUs"):
        torch_switches.prepare({"device": "cuda"}, 1)


def test_the_fast_profile_says_that_nothing_is_reproducible(run_once: RunOnce) -> None:
    config = CONFIG.replace("seed = 7", 'profile = "fast"\nseed = 7').replace("epochs = 3", "steps = 1")
    ran = run_once(config)
    assert (ran.code, ran.result["proof"]) == (0, "not reproducible"), ran.error
    assert ran.result["reasons"] == ["profile 'fast' promises nothing"]


@pytest.mark.parametrize(
    ("maker", "name"),
    [("AuthenticAMD", "AMD, x86-64-v3"), ("GenuineIntel", "Intel, x86-64-v3"), ("HygonGenuine", None)],
)
def test_the_class_of_a_machine_has_its_makers_name(cpuinfo: Path, maker: str, name: str | None) -> None:
    cpuinfo.write_text(f"vendor_id\t: {maker}\n" + cpuinfo.read_text())
    found = machine_class(PROFILES["x86-64-v3"], cpuinfo=cpuinfo)
    assert (found.name if found else None) == name
    everyone = machine_class(PROFILES["portable"], cpuinfo=cpuinfo)
    assert everyone is not None and everyone.name == "any maker, x86-64-v2"
    assert machine_class(PROFILES["fast"], cpuinfo=cpuinfo) is None


def test_xla_knows_every_flag_of_every_profile() -> None:
    for profile in REPRODUCIBLE:  # an unknown flag ends the process
        script = "import jax.numpy as jnp; print(int(jnp.ones(3).sum()))"
        process = run_python(script, JAX_PLATFORMS="cpu", XLA_FLAGS=profile.environment["XLA_FLAGS"])
        assert process.stdout == "3\n", process.stderr


def test_a_profile_can_be_exported_to_a_shell() -> None:
    argv = [sys.executable, "-m", "reprise_trainer", "profile", "portable", "--threads", "2", "--export"]
    process = subprocess.run(argv, env=environment(), check=True, capture_output=True, text=True)
    shell = subprocess.run(
        ["env", "-i", "sh", "-c", f"set -a\n{process.stdout}\nenv"], check=True, capture_output=True, text=True
    )
    given = dict(line.split("=", 1) for line in shell.stdout.splitlines())
    assert PROFILES["portable"].switches(2).items() <= given.items()


def test_the_trainer_outside_an_image_refuses_with_one_message() -> None:
    argv = [sys.executable, "-m", "reprise_trainer"]
    process = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True)
    assert process.returncode == 78
    assert process.stderr.startswith("error: nothing says what to run: /run/reprise/launch.json")
    assert len(process.stderr.splitlines()) == 1
    assert process.stdout == ""
