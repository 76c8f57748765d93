"""Where a profile's promise ends: what a replay that differs says, and where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from reprise.audit.evidence import VerifiedRun, verify_evidence
from reprise.audit.machines import doubt, obstacle
from reprise.cli.audit import EXIT_CODES
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.records.record import ProofFacts
from reprise_trainer.training.records.resources import machine

AMD, INTEL = (each.name for each in PROFILES["x86-64-v3"].machines)
HASHES = {"exp": "1" * 16, "linear": "2" * 16, "softmax": "3" * 16}
PROVED = {"status": "proved", "reasons": [], "machine": AMD, "operations": HASHES}


def on(run: Any, name: str, **said: Any) -> VerifiedRun:
    profile = {"name": name, "promise": "", "table": {}}
    return verify_evidence(run.evidence(profile=profile, **said), run.policy())


def facts(**changes: Any) -> ProofFacts:
    return ProofFacts.model_validate({**PROVED, **changes}, strict=False)


def test_this_cpu_keeps_the_portable_profile(run: Any) -> None:
    assert obstacle(on(run, "portable")) == ""


def test_a_profile_that_nobody_knows_is_an_obstacle(run: Any) -> None:
    assert "'x86-64-v9'" in obstacle(on(run, "x86-64-v9"))


def test_a_machine_that_computes_otherwise_is_a_doubt_that_names_the_operations(run: Any) -> None:
    there = on(run, "x86-64-v3", proof=PROVED)
    assert doubt(there, facts()) == ""
    why = doubt(there, facts(machine=INTEL, operations={**HASHES, "exp": "0" * 16, "linear": "0" * 16}))
    assert "compute exp, linear differently" in why and AMD in why and INTEL in why
    many = {f"operation {number:02}": "1" * 16 for number in range(12)}
    why = doubt(
        on(run, "portable", proof={**PROVED, "operations": many}), facts(operations=dict.fromkeys(many, "2" * 16))
    )
    assert "operation 07 and 4 more" in why and "operation 08" not in why


def test_a_start_that_measured_fewer_operations_is_compared_by_those(run: Any) -> None:
    there = on(run, "x86-64-v3", proof=PROVED)
    assert doubt(there, facts(operations={"exp": "1" * 16})) == ""
    assert "compute exp differently" in doubt(there, facts(operations={"exp": "9" * 16}))


def test_a_root_that_differs_is_no_doubt_for_no_profile_promises_it(run: Any) -> None:
    there = on(run, "x86-64-v3", backend="torch", proof={**PROVED, "operations": {**HASHES, "sqrt": "4" * 16}})
    assert doubt(there, facts(operations={**HASHES, "sqrt": "5" * 16})) == ""
    assert "compute exp diff" in doubt(there, facts(operations={"exp": "9" * 16, "sqrt": "5" * 16}))


def test_another_class_of_machines_is_a_doubt_though_its_operations_agree(run: Any) -> None:
    why = doubt(on(run, "x86-64-v3", proof=PROVED), facts(machine=INTEL))
    assert f"on a machine of the class {AMD}, this one is of {INTEL}" in why


def test_an_unproven_run_is_judged_on_its_own_kind_of_cpu_alone(run: Any) -> None:
    unproven = {**PROVED, "status": "unproven", "reasons": ["aten::lgamma float32 is not in the operation table"]}
    assert doubt(on(run, "x86-64-v3", proof=unproven, machine=machine()), facts()) == ""
    other = {**machine(), "cpu_model": "Another"}
    why = doubt(on(run, "x86-64-v3", proof=unproven, machine=other), facts())
    assert "another CPU" in why and "aten::lgamma float32" in why
    assert doubt(on(run, "x86-64-v3", proof=PROVED, machine=other), facts()) == ""


def test_a_record_without_operations_is_judged_by_the_makers_of_the_cpus(run: Any) -> None:
    assert doubt(on(run, "x86-64-v3", machine=machine()), None) == ""
    why = doubt(on(run, "x86-64-v3", machine={"cpu_maker": "Another"}), facts())
    assert "Another" in why and PROFILES["x86-64-v3"].promise in why
    assert doubt(on(run, "portable", machine={"cpu_maker": "Another"}), None) == ""


@pytest.mark.parametrize(("verdict", "code"), [("same bits", 0), ("different", 1), ("not comparable here", 3)])
def test_each_verdict_has_its_exit_code(verdict: str, code: int) -> None:
    assert EXIT_CODES[verdict] == code
