"""The operation table: what the models use has the committed bits here, or the record names what has not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import program
from tests.trainer.conftest import CONFIG, RunOnce, environment

from reprise_trainer.backends.interface import Recipe, Sgd, ShardKey
from reprise_trainer.backends.models import BuiltIn, Cnn, Gpt, Mlp, Precision
from reprise_trainer.numerics.claims import EXACT, OPEN
from reprise_trainer.numerics.cpu import machine_class
from reprise_trainer.numerics.inputs import RECIPES
from reprise_trainer.numerics.measure import covered
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.numerics.proof import prove, with_used
from reprise_trainer.numerics.table import FILE, RowKey, Table, read_table, write_table
from reprise_trainer.training.plan import Plan, make_backend
from reprise_trainer.training.schedule import Schedule

PORTABLE = PROFILES["portable"]
ROWS = [row.key for row in read_table().rows]
BACKENDS = ("torch", "jax")


def version_of(backend: str) -> str:
    return next(key.version for key in ROWS if key.backend == backend)


def operations(*arguments: str, prefix: tuple[str, ...] = (), **changes: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and error text of `reprise_trainer operations`."""
    argv = [*prefix, sys.executable, "-m", "reprise_trainer", "operations", "--json", *arguments]
    process = subprocess.run(argv, env=environment(changes), check=False, capture_output=True, text=True, timeout=900)
    return process.returncode, json.loads(process.stdout or "{}"), process.stderr


@cache
def measured(profile: str, backend: str, threads: int) -> tuple[int, dict[str, Any], str]:
    return operations("--profile", profile, "--backend", backend, "--threads", str(threads))


@pytest.mark.parametrize("key", [key for key in ROWS if key.backend == "torch" and key.threads == 1], ids=str)
def test_this_machine_has_the_committed_bits(key: RowKey) -> None:
    machine = machine_class(PROFILES[key.profile])
    code, found, error = measured(key.profile, key.backend, key.threads)
    assert found, error
    if machine is None or machine.name != key.machine:  # nobody has measured it
        assert (code, found["status"]) == (1, "unproven")
    else:
        assert (code, found["status"], found["reasons"]) == (0, "proved", []), found


def test_this_machine_has_the_committed_bits_in_jax() -> None:
    code, found, error = measured("portable", "jax", 1)
    assert (code, found.get("status")) == (0, "proved"), (error, found.get("reasons"))


@pytest.mark.long
@pytest.mark.parametrize("key", ROWS, ids=str)
def test_this_machine_has_every_committed_row(key: RowKey) -> None:
    machine = machine_class(PROFILES[key.profile])
    if machine is not None and machine.name == key.machine:
        assert measured(key.profile, key.backend, key.threads)[1]["reasons"] == []


def test_other_threads_are_other_bits_and_nobody_calls_them_equal() -> None:
    one, two = (measured("portable", "torch", threads)[1]["operations"] for threads in (1, 2))
    assert "sum of all" in {name for name in one if one[name] != two[name]}
    table = read_table()
    proof = prove(PORTABLE, "torch", version_of("torch"), 2, one, table)
    assert proof.status == "unproven" and "sum of all" in proof.reasons[0]
    proof = prove(PORTABLE, "torch", version_of("torch"), 3, one, table)
    assert (
        proof.status == "unproven"
        and "nobody has measured torch" in proof.reasons[0]
        and "3 threads" in proof.reasons[0]
    )


def test_an_operation_that_differs_is_named_and_one_that_is_open_is_not() -> None:
    hashes = measured("portable", "torch", 1)[1]["operations"]
    proof = prove(
        PORTABLE, "torch", version_of("torch"), 1, {**hashes, "exp": "0" * 16, "sqrt": "0" * 16}, read_table()
    )
    assert (proof.status, proof.reasons) == ("unproven", ("other bits than the operation table's: exp",))
    assert proof.operations["exp"] == "0" * 16 and proof.line().startswith("numerics: unproven (other bits")


def test_another_version_of_a_framework_is_not_in_the_table() -> None:
    proof = prove(PORTABLE, "torch", "2.14.0", 1, {}, read_table())
    assert proof.status == "unproven" and "torch 2.14.0" in proof.reasons[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_row_has_every_operation_but_the_open_ones(backend: str) -> None:
    table = read_table()
    rows = [table.hashes(key) for key in ROWS if key.backend == backend]
    assert len({frozenset(row or {}) for row in rows}) == 1
    assert not (rows[0] or {}).keys() & OPEN[backend].keys()
    assert {key.threads for key in ROWS} == {1, 2, 4} and {key.profile for key in ROWS} >= {"x86-64-v3", "portable"}


def test_the_optimizers_have_one_hash_in_every_row_of_every_backend() -> None:
    for name in RECIPES:
        assert len({row.hashes[name] for row in read_table().rows}) == 1, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_table_covers_is_what_its_entries_do(backend: str) -> None:
    assert list(covered(backend)) != [] and sorted(covered(backend)) == read_table().covers[backend]


GPT = Gpt(vocabulary=17, block=8, layers=1, heads=2, width=16, dropout=0.3, tied=True)
MODELS: dict[str, BuiltIn] = {
    "cnn": Cnn((28, 28), 10, (4, 8), 16, 0.25),
    "mlp": Mlp((28, 28), 10, (16, 12), 0.5),
    "gpt": GPT,
    "gpt, untied, recomputed": replace(GPT, tied=False, recompute=True),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", BACKENDS)
def test_the_table_has_every_operation_of_the_built_in_models(name: str, model: str, precision: Precision) -> None:
    recipe = Recipe(Sgd(0.9, 0.01), precision=precision)
    backend = make_backend(name, Plan(1, 12, 32, 4, 6, Schedule(0.01, "linear", 12), MODELS[model], recipe))
    if model.startswith("gpt"):
        fields = {"tokens": np.arange(36, dtype=np.int32).reshape(4, 9) % 17}
    else:
        fields = {"image": np.zeros((4, 28, 28), np.uint8), "label": np.zeros(4, np.uint8)}
    used = backend.operations(backend.initial(1), fields, ShardKey(1, 0, 0))
    assert len(used) > 8
    assert read_table().outside(name, used) == ()


def test_a_models_operation_outside_the_table_is_named() -> None:
    table = read_table()
    proof = prove(PORTABLE, "torch", version_of("torch"), 1, {}, table)
    assert with_used(proof, "torch", frozenset({"aten::mm float32", "aten::where float32"}), table) == proof
    weaker = with_used(proof, "torch", frozenset({"aten::mm float32", "aten::lgamma float32"}), table)
    assert weaker.status == "unproven" and weaker.reasons[-1].endswith(
        "not in the operation table: aten::lgamma float32"
    )
    # open: in the table of operations, but nothing is promised of it; in float64 it is exact
    assert table.outside("torch", frozenset({"aten::sqrt float32", "aten::sqrt float64"})) == ("aten::sqrt float32",)
    # the same operation in another element type is another kernel
    assert table.outside("torch", frozenset({"aten::mm float16"})) == ("aten::mm float16",)
    assert table.outside("jax", frozenset({"lgamma float32", "dot_general float32"})) == ("lgamma float32",)


def test_operations_that_are_called_exact_are_no_arithmetic() -> None:
    arithmetic = {"aten::mm", "aten::sum", "aten::exp", "aten::addcmul", "aten::lerp", "aten::div", "aten::sqrt"}
    assert not arithmetic & EXACT["torch"]
    assert not {"dot_general", "reduce_sum", "exp", "div", "scatter-add", "logistic", "sqrt"} & EXACT["jax"]


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    table = read_table()
    write_table(table, tmp_path / "operations.json")
    assert (tmp_path / "operations.json").read_bytes() == FILE.read_bytes()
    key = RowKey(profile="portable", backend="torch", version="0", threads=1, machine="any")
    more = table.with_row(key, {"exp": "1" * 16, "sqrt": "2" * 16}, frozenset({"aten::exp float32"}))
    assert more.hashes(key) == {"exp": "1" * 16} and len(more.rows) == len(table.rows) + 1
    assert Table.model_validate_json(more.model_dump_json()) == more


def test_a_run_says_what_was_proved(run_once: RunOnce) -> None:
    ran = run_once(CONFIG.replace("seed = 7", 'profile = "portable"\nseed = 7').replace("epochs = 3", "steps = 1"))
    assert (ran.result["proof"], ran.result["reasons"]) == ("proved", [])


# Emulated CPUs: whole tables, so that what differs is named by the operation. jaxlib is compiled for AVX, which Nehalem
# lacks. The switches are given from outside: a process that starts itself again would leave the emulator.


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("backend", "cpu"),
    [*(("torch", cpu) for cpu in ("Nehalem", "Haswell", "EPYC", "EPYC-Milan")), ("jax", "Haswell"), ("jax", "EPYC")],
)
def test_portable_has_the_committed_bits_on_an_emulated_cpu(backend: str, cpu: str) -> None:
    emulator = (program("qemu-x86_64", "qemu-user"), "-cpu", cpu)
    code, found, error = operations(
        *("--profile", "portable", "--backend", backend), prefix=emulator, **PORTABLE.switches(1)
    )
    assert found, error
    assert (code, found["reasons"]) == (0, [])


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_an_emulated_intel_cpu_has_other_bits_under_the_fast_profile_and_they_are_named() -> None:
    emulator = (program("qemu-x86_64", "qemu-user"), "-cpu", "Haswell")
    profile = PROFILES["x86-64-v3"]
    _, found, error = operations(
        *("--profile", "x86-64-v3", "--backend", "torch"), prefix=emulator, **profile.switches(1)
    )
    assert found, error
    ours = read_table().hashes(next(key for key in ROWS if (key.profile, key.backend) == ("x86-64-v3", "torch")))
    assert ours is not None
    differing = {name for name, digest in ours.items() if found["operations"][name] != digest}
    assert {"matrix product", "exp", "linear"} <= differing
    assert not {"softmax", "layer norm", "convolution", "tanh"} & differing
