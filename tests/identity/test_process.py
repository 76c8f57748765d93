"""The process is what the config says; each thing that it has besides is named."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reprise_trainer.identity.process import (
    MappedFile,
    ProcessFacts,
    check_mappings,
    check_process,
    read_mappings,
    read_modules,
    read_process,
)

CONFIG = {
    "Env": ["PATH=/usr/bin", "PYTHONHASHSEED=0"],
    "Entrypoint": ["/usr/bin/python3.11", "-I", "-m", "reprise_trainer"],
    "User": "0:0",
}
FACTS = ProcessFacts(
    arguments=tuple(CONFIG["Entrypoint"]),
    environment=frozenset({("PATH", "/usr/bin"), ("PYTHONHASHSEED", "0")}),
    user=(0, 0),
    isolated=True,
    mapped=frozenset(),
    modules=frozenset(),
)


def _with_environment(*pairs: tuple[str, str]) -> ProcessFacts:
    return replace(FACTS, environment=FACTS.environment | set(pairs))


def test_a_process_as_the_config_says_has_no_problem() -> None:
    assert check_process(FACTS, CONFIG) == ()


def test_what_docker_and_podman_set_is_allowed() -> None:
    facts = _with_environment(
        ("HOSTNAME", "b3a3cda1c725"), ("HOME", "/root"), ("TERM", "xterm"), ("container", "podman")
    )
    assert check_process(facts, CONFIG) == ()


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"])
def test_a_variable_of_the_loader_is_named(name: str) -> None:
    (problem,) = check_process(_with_environment((name, "/data/evil.so")), CONFIG)
    assert problem == f"environment: {name}='/data/evil.so' is set; it changes which libraries are loaded"


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONOPTIMIZE"])
def test_a_variable_of_python_is_named(name: str) -> None:
    (problem,) = check_process(_with_environment((name, "/data")), CONFIG)
    assert problem == f"environment: {name}='/data' is set; it changes what Python imports or how it runs"


def test_what_torchrun_and_srun_tell_their_workers_is_known() -> None:
    told = {"RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node-1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "a b"}
    assert check_process(_with_environment(*told.items()), CONFIG) == ()
    for name, value in (("RANK", "x"), ("MASTER_ADDR", "a b"), ("TORCHELASTIC_ERROR_FILE", "/data/x"), ("RANKS", "1")):
        (problem,) = check_process(_with_environment((name, value)), CONFIG)
        assert problem.startswith(f"environment: {name}=")


def test_any_other_variable_is_named() -> None:
    (problem,) = check_process(_with_environment(("GLIBC_TUNABLES", "x")), CONFIG)
    assert problem == "environment: GLIBC_TUNABLES='x' is set; the image does not say so"


def test_another_value_is_named_even_if_the_right_one_is_there_too() -> None:
    (problem,) = check_process(_with_environment(("PYTHONHASHSEED", "1")), CONFIG)
    assert problem == "environment: PYTHONHASHSEED is '1', the image says '0'"


def test_a_variable_that_is_not_set_is_named() -> None:
    facts = replace(FACTS, environment=frozenset({("PATH", "/usr/bin")}))
    assert check_process(facts, CONFIG) == ("environment: PYTHONHASHSEED is not set, the image says '0'",)


def test_the_profiles_switches_are_expected_with_their_values() -> None:
    switches = {"OMP_NUM_THREADS": "2"}
    assert check_process(_with_environment(("OMP_NUM_THREADS", "2")), CONFIG, switches) == ()
    assert "OMP_NUM_THREADS is '4'" in check_process(_with_environment(("OMP_NUM_THREADS", "4")), CONFIG, switches)[0]
    assert "OMP_NUM_THREADS is not set" in check_process(FACTS, CONFIG, switches)[0]


def test_a_strange_home_is_named() -> None:
    (problem,) = check_process(_with_environment(("HOME", "/data")), CONFIG)
    assert problem == "environment: HOME has the value '/data', which no engine gives it"


def test_python_without_isolation_is_named() -> None:
    (problem,) = check_process(replace(FACTS, isolated=False), CONFIG)
    assert problem.startswith("python: runs without -I")


def test_other_arguments_are_named() -> None:
    facts = replace(FACTS, arguments=("/usr/bin/python3.11", "-I", "/data/other.py"))
    (problem,) = check_process(facts, CONFIG)
    assert problem.endswith("found '/usr/bin/python3.11 -I /data/other.py'")


def test_another_user_is_named() -> None:
    assert check_process(replace(FACTS, user=(1000, 0)), CONFIG) == ("user: expected 0:0, found 1000:0",)


def test_the_facts_are_those_of_this_process() -> None:
    facts = read_process()
    assert facts.arguments[0] == sys.orig_argv[0]
    assert facts.user == (os.getuid(), os.getgid())
    assert ("PATH", os.environ["PATH"]) in facts.environment
    assert facts.isolated is bool(sys.flags.isolated)
    assert __file__ in read_modules() or any(path.endswith("pathlib.py") for path in facts.modules)


def test_a_variable_changed_since_the_start_shows_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/changed")
    values = {value for name, value in read_process().environment if name == "PATH"}
    assert len(values) == 2


@pytest.mark.parametrize("name", ["evil.so", "e\rv\x0bi\x1cl\u2028.so"])
def test_a_loaded_library_is_seen_as_code(tmp_path: Path, name: str) -> None:
    libm = next(area.path for area in read_mappings() if area.executable and "/libm" in area.path)
    copy = Path(shutil.copy(libm, tmp_path / name))
    ctypes.CDLL(str(copy))
    assert MappedFile(str(copy), executable=True) in read_mappings()
    problems = check_mappings(read_mappings(), (), listed=())
    assert f"{copy}: mapped into the process as code, and no layer lists it" in problems


def test_a_preloaded_library_is_seen_by_a_fresh_process(tmp_path: Path) -> None:
    libm = next(area.path for area in read_mappings() if area.executable and "/libm" in area.path)
    copy = shutil.copy(libm, tmp_path / "evil.so")
    program = "from reprise_trainer.identity.process import *; print(check_mappings(read_mappings(), (), ()))"
    environment = {**os.environ, "LD_PRELOAD": str(copy)}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert f"{copy}: mapped into the process as code" in output.stdout


def test_listed_libraries_and_memory_are_allowed() -> None:
    areas = [
        MappedFile("/usr/lib/libc.so.6", executable=True),
        MappedFile("", executable=True),
        MappedFile("[vdso]", executable=True),
        MappedFile("[anon: glibc: malloc]", executable=False),
        MappedFile("/memfd:libffi (deleted)", executable=True),
        MappedFile("/dev/zero (deleted)", executable=False),
        MappedFile("/data/shards/train-00000.bin", executable=False),
    ]
    assert check_mappings(areas, (), listed={"usr/lib/libc.so.6"}) == ()


@pytest.mark.parametrize(
    "path", ["/data/evil.so", "/memfd:evil (deleted)", "/usr/lib/libc.so.6 (deleted)", "/dev/shm/evil.so", "/dev/zero"]
)
def test_code_from_anywhere_else_is_named(path: str) -> None:
    problems = check_mappings([MappedFile(path, executable=True)], (), listed={"usr/lib/libc.so.6"})
    assert problems == (f"{path}: mapped into the process as code, and no layer lists it",)


def test_a_replaced_library_that_is_still_mapped_is_named() -> None:
    (problem,) = check_mappings([MappedFile("/usr/lib/libc.so.6 (deleted)", False)], (), {"usr/lib/libc.so.6"})
    assert problem.startswith("/usr/lib/libc.so.6 (deleted): mapped into the process")


def test_a_module_from_outside_is_named() -> None:
    (problem,) = check_mappings((), ["/data/evil.py"], {"usr/lib/python3.11/os.py"})
    assert problem == "/data/evil.py: imported as a Python module, and no layer lists it"


def test_shared_anonymous_memory_of_this_process_is_allowed() -> None:
    with mmap.mmap(-1, 4096):
        assert not any("/dev/zero" in problem for problem in check_mappings(read_mappings(), (), ()))
