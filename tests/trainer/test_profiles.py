"""Profiles: one table, and a CPU or a process that can't keep it is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.trainer.conftest import CONFIG, environment

from reprise_trainer.config.run import RunSection
from reprise_trainer.errors import InputError, SystemFailureError
from reprise_trainer.numerics.cpu import read_cpuinfo, require_cpu
from reprise_trainer.numerics.enter import unset_switches
from reprise_trainer.numerics.profiles import MARKER, PROFILES, profile_asked_for


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
def test_every_switch_is_looked_at(profile) -> None:  # type: ignore[no-untyped-def]
    switches = profile.switches(2)
    assert unset_switches(profile, 2, switches) == {}
    for name in switches:
        without = {each: value for each, value in switches.items() if each != name}
        assert list(unset_switches(profile, 2, without)) == [name]
        assert list(unset_switches(profile, 2, {**switches, name: "other"})) == [name]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_the_table_names_threads_instruction_sets_and_the_marker(profile) -> None:  # type: ignore[no-untyped-def]
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
        ('[run]\nprofile = "fast"', "run.profile: there are x86-64-v3, portable, not 'fast'"),
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


def test_the_trainer_outside_an_image_refuses_with_one_message() -> None:
    argv = [sys.executable, "-m", "reprise_trainer"]
    process = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True)
    assert process.returncode == 78
    assert process.stderr.startswith("error: nothing says what to run: /run/reprise/launch.json")
    assert len(process.stderr.splitlines()) == 1
    assert process.stdout == ""
